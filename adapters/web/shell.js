/**
 * What every page of a worker shows around its task: who, which state, which connection, what next.
 *
 * `mountShell(worker)` fills the page's `<header id="shell">` and `<section id="ending">` and keeps
 * them true. The task itself stays the page's own business.
 * @module
 */

import { ENDINGS, FINAL_STATES, PARTNER_LEFT, STATES, STATE_SENTENCES, freshLink } from "./client.js";

const LIGHTS = {
  idle: ["No live connection needed", "This part of the task works without a live connection."],
  connecting: ["Connecting", "Opening the live connection."],
  up: ["Connected", "The server and the task's program answer."],
  unreachable: ["Backend unreachable", "The server answers, but the task's program has been silent for more than 20 seconds. What you send is kept until it is back."],
  lost: ["Reconnecting", "The connection is lost. What you send is kept and goes out as soon as it is back."],
  replaced: ["Replaced", "Another window speaks for this worker now."],
};

const REPLACED = {
  title: "Open in another window",
  text: "The same worker was opened in another window, and the newest one counts. This window is closed for good, so nothing is sent twice.",
  todo: "Go on in the other window, or take over again here.",
};

const STATE_NAMES = { in_task: "in task" };

/** Makes an element: `el("p", {class: "x"}, "text", child)`. Text is never read as markup. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** The rail of the seven states; `mark(state)` moves the highlight, `visited` remembers. */
export function makeRail() {
  const visited = new Set();
  const items = new Map();
  for (const state of STATES) {
    const note = el("span", { class: "sr" });
    const isFinal = FINAL_STATES.includes(state);
    const item = el("li", { "data-rail": "ahead", "data-name": state, class: isFinal ? "final" : "live" },
      el("span", { class: "node", "aria-hidden": "true" }),
      el("span", { class: "label" }, STATE_NAMES[state] ?? state),
      note,
    );
    items.set(state, { item, note });
  }
  const rail = el("ol", { class: "rail", "aria-label": "The seven states of a worker's seat" });
  rail.append(...[...items.values()].map(({ item }) => item));
  const mark = (current) => {
    visited.add(current);
    for (const [state, { item, note }] of items) {
      const place = state === current ? "now" : visited.has(state) ? "past" : "ahead";
      item.dataset.rail = place;
      item.toggleAttribute("aria-current", false);
      if (place === "now") item.setAttribute("aria-current", "step");
      note.textContent = { now: " (now)", past: " (done)", ahead: "" }[place];
    }
  };
  return { rail, mark, visited };
}

/**
 * Shows the worker's name, state, connection light, notices and ending, and keeps them true.
 *
 * @param {import("./client.js").TaskWorker} worker
 * @param {{title: string, sentence?: (worker: object) => string | null}} options `sentence` may
 *   say more precisely than the general one what the worker is to do now
 */
export function mountShell(worker, { title, sentence = () => null }) {
  const { rail, mark, visited } = makeRail();
  const light = el("p", { class: "light", "data-testid": "light", role: "status" });
  const status = el("p", { class: "status", "data-testid": "status", role: "status", "aria-live": "polite" });
  const notice = el("p", { class: "notice", "data-testid": "notice", role: "status", hidden: true });
  const state = el("nav", { class: "rail-box", "data-testid": "state", "aria-label": "Progress" }, rail);
  const ending = document.querySelector("#ending");

  document.querySelector("#shell").append(
    el("div", { class: "bar" },
      el("a", { class: "brand", href: "../", "aria-label": "statecore, all demos" },
        el("img", { src: "../assets/favicon.svg", alt: "", width: "28", height: "28" }),
        el("span", { class: "brand-name" }, "statecore"),
      ),
      el("h1", {}, title),
      el("p", { class: "who" }, el("span", { class: "sr" }, "You are "),
        el("span", { class: "chip", "data-testid": "worker-name", title: "Your worker name" }, worker.name)),
      light,
    ),
    state,
    status,
    notice,
  );

  let shown = "";
  const render = () => {
    mark(worker.state);
    state.dataset.state = worker.state;
    status.dataset.status = worker.status ?? "";
    setText(status, statusSentence(worker, sentence));
    const [word, meaning] = LIGHTS[worker.light];
    light.dataset.light = worker.light;
    light.title = meaning;
    setText(light, word);
    showNotice(notice, ["unreachable", "lost"].includes(worker.light) ? meaning : "", "light");
    if (worker.posting === 0) showNotice(notice, "", "retry");
    const key = [worker.state, worker.status, worker.submitted, worker.light === "replaced"].join();
    if (key !== shown) showEnding(ending, worker, visited);
    shown = key;
  };
  worker.addEventListener("change", render);
  worker.addEventListener("retry", ({ detail }) => {
    const wait = Math.max(1, Math.round(detail.seconds));
    const again = `Trying again in about ${wait} s (attempt ${detail.attempt + 1}).`;
    showNotice(notice, `Not accepted yet: ${lowerFirst(detail.why)} ${again} Please keep this window open.`, "retry");
  });
  worker.addEventListener("refused", ({ detail }) => {
    showNotice(notice, `The server did not take what this page sent: ${detail?.text ?? "no reason given"}`, "refused");
  });
  addEventListener("beforeunload", (event) => {
    if (worker.posting > 0 && worker.agentId) event.preventDefault();
  });
  // An error of the page is the task's authors' to know, not the worker's to report.
  addEventListener("error", ({ message, filename, lineno }) => {
    if (worker.agentId) worker.logError({ error_type: "page", text: message, at: `${filename}:${lineno}` });
  });
  render();
}

/** Tells the worker of a refusal beside the form that was refused. */
export function refusalText(error) {
  return `The server refused this: ${error.message.replace(/[.]?$/, ".")} It was not accepted; you may try again.`;
}

function statusSentence(worker, sentence) {
  if (worker.light === "replaced") return "This window was replaced by another one.";
  if (worker.owesSubmission) return "Your partner left. One submission is still expected from you.";
  if (worker.isFinal && ENDINGS[worker.status]) return ENDINGS[worker.status].title;
  return sentence(worker) ?? STATE_SENTENCES[worker.state];
}

function showEnding(ending, worker, visited) {
  ending.replaceChildren();
  const isReplaced = worker.light === "replaced";
  ending.hidden = !worker.isFinal && !isReplaced;
  if (ending.hidden) return;
  const isBad = worker.state !== "completed";
  const words = isReplaced ? REPLACED : worker.owesSubmission ? PARTNER_LEFT
    : (ENDINGS[worker.status] ?? failedWords(worker, visited));
  ending.dataset.tone = worker.state === "failed" ? "bad" : isBad || worker.owesSubmission ? "warn" : "good";
  const box = el("div", { "data-testid": isReplaced ? "replaced" : isBad ? "failure" : "ending" },
    el("h2", {}, words.title), el("p", {}, words.text), el("p", { class: "todo" }, words.todo));
  ending.append(box);
  if (worker.owesSubmission && !isReplaced) return;
  const actions = el("p", { class: "actions" });
  const isHopeless = worker.state === "failed" && visited.has("onboarding");
  if (worker.state === "failed" || isReplaced) {
    const again = el("button", { type: "button", class: isHopeless && "quiet", "data-testid": "try-again" }, isReplaced ? "Go on here instead" : "Ask again");
    again.addEventListener("click", () => location.reload());
    actions.append(again);
  }
  actions.append(
    el("a", { class: isHopeless ? "button" : "button quiet", href: freshLink(), "data-testid": "fresh" }, "Start as a fresh worker"),
    el("a", { class: "button quiet", href: "../" }, "All demos"),
  );
  ending.append(actions);
}

function failedWords(worker, visited) {
  const text = worker.failureReason ?? STATE_SENTENCES.failed;
  if (visited.has("onboarding")) {
    return {
      title: "You cannot go on to the task",
      text,
      todo: "Asking again as the same worker will most likely get the same answer.",
    };
  }
  return { title: "You did not get a seat", text, todo: "Unless the reason above is final, you may ask again later." };
}

/** One line for several reasons: the newest that still holds is shown. */
function showNotice(notice, text, reason) {
  notice.reasons ??= new Map();
  if (text) notice.reasons.set(reason, text);
  else notice.reasons.delete(reason);
  const last = [...notice.reasons.values()].at(-1) ?? "";
  setText(notice, last);
  notice.hidden = last === "";
}

/** Sets a text only when it is another one, so that a live region is not read out again. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const lowerFirst = (text) => text.charAt(0).toLowerCase() + text.slice(1);
