/**
 * The labelling page: a quiz that can be failed, the work, thanks.
 *
 * `onboarding_data` is `{answers: {ask, mixed, unsure}}`; `init_task_data` of the task is
 * `{texts: [{id, text}], labels: [...], guideline}`; `final_data` is `{labels: {<id>: <label>}}`;
 * the metadata is `{feedback: {text}}`.
 */

import { connectWorker } from "../assets/client.js";
import { el, mountShell, refusalText } from "../assets/shell.js";
import { GUIDELINE, QUESTIONS } from "./quiz.js";

const worker = connectWorker();
const find = (id) => document.getElementById(id);
const quiz = find("quiz");
const work = find("work");
const feedback = find("feedback");
let built = null; // the agent whose form is on the page

const sentence = ({ state, posting }) => {
  if (posting > 0 && state !== "connecting") return "Handing in…";
  if (state === "onboarding") return "Three questions decide whether you may label.";
  if (state === "in_task") return "Take your time: nobody is waiting, and you may come back later.";
  return null;
};

mountShell(worker, { title: "Label", sentence });
worker.addEventListener("change", render);

quiz.addEventListener("submit", (event) => {
  event.preventDefault();
  const answers = chosen(quiz, "quiz");
  if (!complete(quiz, "Answer this question too.")) return;
  handIn(quiz, () => worker.submitOnboarding({ answers }));
});

work.addEventListener("submit", (event) => {
  event.preventDefault();
  const labels = chosen(work, "label");
  if (!complete(work, "This message has no label yet.")) return;
  handIn(work, () => worker.submitTask({ labels }));
});

work.addEventListener("change", showProgress);

// 1, 2, 3 label the message that has the focus; outside the form the keys mean nothing.
work.addEventListener("keydown", (event) => {
  const choice = event.target.closest("fieldset");
  if (!choice || event.ctrlKey || event.metaKey || event.altKey) return;
  const radio = choice.querySelectorAll("input")[Number(event.key) - 1];
  if (!radio) return;
  event.preventDefault();
  radio.checked = true;
  showProgress();
  const next = [...work.querySelectorAll("fieldset")].find((other) => !other.querySelector(":checked"));
  (next ?? work.querySelector("button")).focus();
});

feedback.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = find("feedback-text").value.trim();
  if (!text) return find("feedback-text").focus();
  handIn(feedback, async () => {
    await worker.submitMetadata({ feedback: { data: [{ question: "Was anything unclear?", text }] } });
    find("feedback-thanks").textContent = "Thank you, your feedback was handed in.";
    find("feedback-text").closest("form").classList.add("sent");
  });
});

render();
await worker.start();

function render() {
  if (worker.agentId !== built) build();
  quiz.hidden = worker.state !== "onboarding";
  work.hidden = worker.state !== "in_task";
  find("guide").hidden = quiz.hidden && work.hidden;
  feedback.hidden = !worker.submitted;
  for (const button of document.querySelectorAll("main form button")) button.disabled = worker.posting > 0;
  if (worker.isFinal && document.activeElement === document.body) find("ending").focus();
}

function build() {
  built = worker.agentId;
  const { guideline, labels = [], texts = [] } = worker.taskData ?? {};
  find("guideline").textContent = guideline ?? GUIDELINE;
  if (worker.state === "onboarding") {
    find("questions").replaceChildren(
      ...QUESTIONS.map(({ id, text, options }) => choiceCard({ name: `quiz-${id}`, text, options })),
    );
  } else if (worker.state === "in_task") {
    const options = labels.map((label) => [label, label.charAt(0).toUpperCase() + label.slice(1)]);
    find("texts").replaceChildren(
      ...texts.map(({ id, text }) => choiceCard({ name: `label-${id}`, text, options, keyed: true })),
    );
    find("keys").replaceChildren(...labels.flatMap((_, index) => [index ? " " : "", el("kbd", {}, `${index + 1}`)]));
    showProgress();
    // The first message takes the focus, so that the keys work at once.
    queueMicrotask(() => work.querySelector("fieldset")?.focus({ preventScroll: true }));
  }
}

function choiceCard({ name, text, options, keyed = false }) {
  const error = el("p", { class: "form-error", id: `${name}-error` });
  const choices = options.map(([value, words], index) => {
    const radio = el("input", { type: "radio", name, value, "data-testid": `${name}-${value}`, required: true });
    return el("label", { class: "choice" }, radio, el("span", {}, words), keyed ? el("kbd", { "aria-hidden": "true" }, `${index + 1}`) : "");
  });
  const isLong = options.some(([, words]) => words.length > 12);
  return el("fieldset", { class: isLong ? "card choices long" : "card choices", "data-testid": name, tabindex: keyed ? "-1" : null, "aria-describedby": error.id },
    el("legend", {}, text), el("div", { class: "choice-row" }, ...choices), error);
}

/** The chosen value of each question, by its id. */
function chosen(form, prefix) {
  return Object.fromEntries([...new FormData(form)].map(([name, value]) => [name.slice(prefix.length + 1), value]));
}

/** Marks what is missing and goes to the first of it. */
function complete(form, words) {
  let first = null;
  for (const card of form.querySelectorAll("fieldset")) {
    const isMissing = !card.querySelector(":checked");
    card.classList.toggle("missing", isMissing);
    card.querySelector(".form-error").textContent = isMissing ? words : "";
    if (isMissing) first ??= card;
  }
  first?.querySelector("input").focus();
  return !first;
}

async function handIn(form, submit) {
  const error = form.querySelector(".submit-row .form-error");
  error.textContent = "";
  try {
    await submit();
  } catch (refusal) {
    error.textContent = refusalText(refusal);
  }
}

function showProgress() {
  const cards = [...work.querySelectorAll("fieldset")];
  const done = cards.filter((card) => card.querySelector(":checked"));
  for (const card of done) {
    card.classList.remove("missing");
    card.querySelector(".form-error").textContent = "";
  }
  find("bar").max = Math.max(1, cards.length);
  find("bar").value = done.length;
  find("progress").textContent = `${done.length} of ${cards.length} labelled`;
}
