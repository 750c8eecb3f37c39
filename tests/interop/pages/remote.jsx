// A remote procedure task: asks the core to measure a text, shows its answer, and submits it.
import React from "react";
import { useMephistoRemoteProcedureTask } from "mephisto-task";
import { AgentFacts, Asker, Fact, mount } from "./shared.jsx";

function Page() {
  const [answer, setAnswer] = React.useState(null);
  const task = useMephistoRemoteProcedureTask({});
  const measure = task.remoteProcedure("measure");

  return (
    <main>
      <AgentFacts task={task} />
      <Fact name="connection" value={task.connectionStatus} />
      <Fact name="status" value={task.agentStatus} />
      <Fact name="answer" value={answer} />
      {task.agentId && <Asker name="measure" onSend={(text) => measure({ text }).then(setAnswer)} />}
      {task.agentId && <Asker name="rating" onSend={(rating) => task.handleSubmit({ rating })} />}
    </main>
  );
}

mount(Page);
