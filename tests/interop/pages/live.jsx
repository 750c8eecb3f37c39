// A live task: what the partner says, what the worker says, and the submission at the end.
import React from "react";
import { useMephistoLiveTask } from "mephisto-task";
import { AgentFacts, Asker, Fact, mount } from "./shared.jsx";

function Page() {
  const [messages, setMessages] = React.useState([]);
  const [statuses, setStatuses] = React.useState([]);
  const task = useMephistoLiveTask({
    onLiveUpdate: (update) => setMessages((was) => [...was, update]),
    onStatusUpdate: ({ status }) => setStatuses((was) => [...was, status]),
  });
  const { agentId, connect } = task;

  React.useEffect(() => {
    if (agentId) {
      connect(agentId);
    }
  }, [agentId]);

  const say = (text) => {
    task.sendLiveUpdate({ text }).then((sent) => setMessages((was) => [...was, sent]));
  };

  return (
    <main>
      <AgentFacts task={task} />
      <Fact name="connection" value={task.connectionStatus} />
      <Fact name="status" value={task.agentStatus} />
      <Fact name="statuses" value={statuses} />
      <Fact name="messages" value={messages.filter((one) => one.text).map((one) => one.text)} />
      <Fact name="task-done" value={messages.some((message) => message.task_done)} />
      {agentId && <Asker name="say" onSend={say} />}
      {agentId && <Asker name="rating" onSend={(rating) => task.handleSubmit({ rating })} />}
    </main>
  );
}

mount(Page);
