// A static task: a quiz while onboarding, then a label; a tip, an error report and an upload beside it.
import React from "react";
import { useMephistoTask } from "mephisto-task";
import { AgentFacts, Asker, Fact, mount } from "./shared.jsx";

function Page() {
  const task = useMephistoTask();
  const [outcome, setOutcome] = React.useState({});
  const report = (name) => (answer) => setOutcome((was) => ({ ...was, [name]: answer ?? "sent" }));
  const ready = !task.isLoading && task.agentId !== null;

  // The npm package has no upload of its own; tasks with files post a form, as upstream's HTML tasks do.
  const upload = (event) => {
    const form = new FormData();
    form.append("USED_AGENT_ID", task.agentId);
    form.append("final_string_data", JSON.stringify({ label: "with files" }));
    for (const file of event.target.files) {
      form.append("attachment", file);
    }
    fetch("/submit_task", { method: "POST", body: form })
      .then((answer) => answer.status)
      .then(report("upload"));
  };

  return (
    <main>
      <AgentFacts task={task} />
      {ready && task.isOnboarding && (
        <Asker name="answer" onSend={(answer) => task.handleSubmit({ answer })} />
      )}
      {ready && !task.isOnboarding && (
        <section>
          <Asker name="label" onSend={(label) => task.handleSubmit({ label })} />
          <Asker
            name="tip"
            onSend={(text) =>
              task
                .handleMetadataSubmit({ type: "tips", header: "a tip", text })
                .then(report("tip"))
            }
          />
          <Asker name="error" onSend={(text) => task.handleFatalError({ text })} />
          <input data-testid="upload" type="file" multiple onChange={upload} />
        </section>
      )}
      <Fact name="outcome" value={outcome} />
    </main>
  );
}

mount(Page);
