// What the three pages have in common: one visible, testable line for each fact, and the mounting.
import React from "react";
import { createRoot } from "react-dom/client";

export function Fact({ name, value }) {
  const text = typeof value === "string" ? value : JSON.stringify(value ?? null);
  return (
    <p>
      {name}: <output data-testid={name}>{text}</output>
    </p>
  );
}

// The facts that useMephistoTask gives to every page.
export function AgentFacts({ task }) {
  return (
    <section>
      <Fact name="agent-id" value={task.agentId} />
      <Fact name="worker-id" value={task.mephistoWorkerId} />
      <Fact name="loading" value={task.isLoading} />
      <Fact name="preview" value={task.isPreview} />
      <Fact name="onboarding" value={task.isOnboarding} />
      <Fact name="failure" value={task.blockedExplanation} />
      <Fact name="task-data" value={task.initialTaskData} />
    </section>
  );
}

// A text field and a button that hands over what was typed.
export function Asker({ name, onSend, disabled }) {
  const [text, setText] = React.useState("");
  const send = (event) => {
    event.preventDefault();
    onSend(text);
    setText("");
  };
  return (
    <form onSubmit={send}>
      <input data-testid={`${name}-text`} value={text} onChange={(e) => setText(e.target.value)} />
      <button data-testid={name} disabled={disabled}>
        {name}
      </button>
    </form>
  );
}

export function mount(Page) {
  createRoot(document.getElementById("app")).render(<Page />);
}
