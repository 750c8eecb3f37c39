/**
 * The chat page: a waiting room, a talk between two people, and one submission each.
 *
 * `init_task_data` is `{topic}`. Live updates. To the task: `{type: "message", text, update_id}`. From the task:
 * `{type: "message", from, text, update_id}` (each message comes back to its author too, with the
 * author's `update_id`), `{type: "joined", names}`, `{type: "finished", from}` when one of the two
 * has handed in, and `{type: "ended", reason}`. The final data is `{messages, rating?}`, where
 * `messages` counts what both have written.
 */

import { connectWorker, freshLink } from "../assets/client.js";
import { el, mountShell, refusalText } from "../assets/shell.js";

const worker = connectWorker({ live: true });
const find = (id) => document.getElementById(id);
const messages = find("messages");
const input = find("message");
const pending = new Map(); // update_id -> the bubble that waits for its echo
let count = 0;
let partner = null;
let isAtEnd = true;
let height = 0;

const sentence = ({ state, light }) => {
  if (state === "waiting") return "You have a seat. The chat starts when a partner comes.";
  if (state === "in_task" && light === "up") return "Talk as long as you like, then press Finish.";
  return null;
};

mountShell(worker, { title: "Chat", sentence });

for (let rating = 1; rating <= 5; rating += 1) {
  const radio = el("input", { type: "radio", name: "rating", value: rating, "data-testid": `rating-${rating}`, "aria-label": `${rating} of 5` });
  find("stars").append(el("label", {}, radio, el("span", { "aria-hidden": "true" }, "★")));
}

worker.addEventListener("change", render);
worker.addEventListener("update", ({ detail }) => receive(detail.data));
worker.addEventListener("lost", ({ detail }) => giveUp(detail.data.update_id));

find("compose").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = input.value.trim();
  if (!text) return;
  try {
    showPending(worker.send({ type: "message", text }), text);
  } catch (error) {
    return showLine(`This message was not sent: ${error.message}.`);
  }
  input.value = "";
  input.focus();
});

input.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    find("compose").requestSubmit();
  }
});

find("finish").addEventListener("submit", async (event) => {
  event.preventDefault();
  const rating = new FormData(event.target).get("rating");
  find("finish-error").textContent = "";
  try {
    await worker.submitTask({ messages: count, ...(rating && { rating: Number(rating) }) });
  } catch (error) {
    find("finish-error").textContent = refusalText(error);
  }
});

messages.addEventListener("scroll", () => {
  if (messages.clientHeight !== height) return; // the box changed its size; nobody scrolled
  isAtEnd = messages.scrollHeight - messages.scrollTop - messages.clientHeight < 60;
});
new ResizeObserver(() => {
  height = messages.clientHeight;
  stayAtEnd();
}).observe(messages);

find("copy").addEventListener("click", async () => {
  const link = find("partner-link");
  link.select();
  try {
    await navigator.clipboard.writeText(link.value);
    find("copied").textContent = "Copied. Paste it into another window.";
  } catch {
    find("copied").textContent = "The browser does not let a page copy here. The link is selected: copy it by hand.";
  }
});

find("partner-link").value = freshLink();
find("open-partner").href = freshLink();
render();
await worker.start();

function render() {
  const talks = worker.state === "in_task";
  const isReplaced = worker.light === "replaced";
  const canFinish = !isReplaced && (talks || worker.owesSubmission) && !worker.submitted;
  find("room").hidden = worker.state !== "waiting" || isReplaced;
  // An end is told here too, also to a worker who never talked.
  find("talk").hidden = !(talks || worker.isFinal || isReplaced || count > 0);
  find("partner").hidden = !partner;
  find("topic").textContent = worker.taskData?.topic ?? "";
  find("topic").hidden = !talks || isReplaced || !worker.taskData?.topic;
  messages.hidden = messages.childElementCount === 0 && (worker.isFinal || isReplaced);
  find("compose").hidden = !talks || isReplaced;
  find("finish").hidden = !canFinish;
  for (const control of document.querySelectorAll("#compose *, #finish button")) control.disabled = worker.posting > 0;
  if (partner) find("partner").firstChild.data = worker.isFinal ? "You talked with " : "You talk with ";
  const finish = document.querySelector("#finish button");
  finish.textContent = worker.posting > 0 ? "Handing in…" : "Finish";
  if (worker.isFinal || isReplaced) [...pending.keys()].forEach(giveUp);
}

function receive(update) {
  switch (update.type) {
    case "message":
      count += 1;
      pending.get(update.update_id)?.remove();
      pending.delete(update.update_id);
      return showMessage(update.from, update.text);
    case "joined": {
      partner = update.names.filter((name) => name !== worker.name).join(" and ") || null;
      find("partner").replaceChildren("You talk with ", el("b", { class: "chip" }, partner ?? "nobody"));
      showLine(`${partner ?? "Nobody"} is here. Say hello.`);
      if (!matchMedia("(pointer: coarse)").matches) input.focus();
      return render();
    }
    case "finished":
      return update.from !== worker.name && showLine(`${update.from} pressed Finish and has handed in.`);
    case "ended":
      return showLine(`The chat has ended${update.reason ? `: ${update.reason}` : ""}.`);
  }
}

function showMessage(from, text) {
  append(bubble(from === worker.name, from, text));
}

function showPending(updateId, text) {
  const item = bubble(true, worker.name, text);
  item.dataset.delivery = "sending";
  pending.set(updateId, item);
  append(item);
}

/** The echo will not come any more, and whether the message arrived is unknown. */
function giveUp(updateId) {
  if (pending.has(updateId)) pending.get(updateId).dataset.delivery = "lost";
}

function bubble(isMine, from, text) {
  return el("li", { class: isMine ? "bubble mine" : "bubble theirs", "data-testid": "message", "data-from": from },
    el("span", { class: "from" }, isMine ? "You" : from), el("p", { dir: "auto" }, text), el("span", { class: "delivery" }));
}

function showLine(text) {
  append(el("li", { class: "line" }, text));
}

function append(item) {
  messages.append(item);
  stayAtEnd();
}

/** Keeps the newest message in view, but does not drag down somebody who reads further up. */
function stayAtEnd() {
  if (isAtEnd) messages.scrollTop = messages.scrollHeight;
}
