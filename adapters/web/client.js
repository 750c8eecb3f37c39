/**
 * The browser's side of a task: one small object for the page of a worker.
 *
 * ```js
 * import { connectWorker } from "/assets/client.js";
 *
 * const worker = connectWorker({ live: true }); // who it is comes from the page's address
 * worker.addEventListener("change", () => render(worker)); // state, status, light, task data
 * worker.addEventListener("update", ({ detail }) => show(detail.data)); // a live update
 * await worker.start();                          // asks for a seat; never throws for a refusal
 *
 * worker.send({ type: "message", text: "Hello" });         // live tasks: a live update
 * await worker.submitOnboarding({ answers: { q1: "yes" } });
 * await worker.submitTask({ rating: 5 }, { photo: fileInput.files });
 * await worker.submitMetadata({ feedback: { text: "Nice" } });
 * await worker.logError({ text: "something broke" });
 * ```
 *
 * What can be read at any time:
 *
 * | property | is |
 * | --- | --- |
 * | `name`, `assignment`, `agentId` | who this is; `agentId` is `null` without a seat |
 * | `state` | connecting, onboarding, waiting, in_task, completed, disconnected or failed |
 * | `status` | the wire status behind the state (the outcome), or `null` |
 * | `failureReason` | why `state` is failed, in the words of the server |
 * | `light` | idle (no socket needed), connecting, up, unreachable (the router answers, the task's program does not), lost (reconnecting), replaced (another tab took over; stays closed) |
 * | `taskData` | `init_task_data` of the seat or of its onboarding |
 * | `submitted` | the final data was accepted by the server |
 * | `owesSubmission` | a partner left, and one submission is still expected |
 * | `posting` | how many POSTs are on their way and not yet accepted |
 *
 * Events: `change`; `update` with `{data, past}`, each `update_id` once, in the order sent, where
 * `past` marks what came before a reload; `retry` with `{what, attempt, seconds, why}` before a
 * POST is repeated; `refused` with `{error_type, text, field, expected}` when the router did not
 * take a packet; `lost` with `{data}` for a live update that is given up, because the router
 * closed the connection over it.
 *
 * The submit functions and `start` repeat a POST until the server accepts it. They throw a
 * `RefusedError` (`statusCode`, `message`, `field`, `expected`) when the server refuses for good.
 * @module
 */

import { identityFromAddress } from "./identity.js";
import { Link, freshId, wireTime } from "./link.js";
import { RefusedError, formOf, postUntilAccepted, uploadsOf } from "./post.js";
import { FINAL_STATES, STATE_OF } from "./statuses.js";

export { freshLink, freshName } from "./identity.js";
export { RefusedError } from "./post.js";
export { ENDINGS, FINAL_STATES, PARTNER_LEFT, STATES, STATE_OF, STATE_SENTENCES } from "./statuses.js";

// How many update ids are remembered to drop repeats; a reconnect repeats far fewer.
const SEEN_LIMIT = 10_000;

export class TaskWorker extends EventTarget {
  #base;
  #live;
  #providerType;
  #link = null;
  #seen = new Set();
  #told = false; // the core, not only this page, said that it is over
  #submission = null;

  name;
  assignment;
  agentId = null;
  state = "connecting";
  status = null;
  failureReason = null;
  light = "idle";
  taskData = null;
  submitted = false;
  posting = 0;

  /** See {@link connectWorker}. */
  constructor({ live, base, name, assignment, providerType }) {
    super();
    this.#live = live;
    this.#base = base;
    this.#providerType = providerType;
    this.name = name;
    this.assignment = assignment;
  }

  get isFinal() {
    return FINAL_STATES.includes(this.state);
  }

  get owesSubmission() {
    return this.status === "partner disconnect" && this.state === "completed" && !this.submitted;
  }

  /** Asks for a seat. A refusal is no exception: `state` is failed and `failureReason` says why. */
  async start() {
    const provider_data = {
      worker_name: this.name,
      agent_registration_id: `${this.assignment}-${this.name}`,
      assignment_id: this.assignment,
      provider_type: this.#providerType,
    };
    try {
      this.#seated(await this.#postJson("request_agent", { provider_data }));
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error;
      this.#fail(error.message);
    }
  }

  /**
   * Sends a live update and returns its `update_id`. It is kept until the router has read it, and
   * sent again after a reconnect.
   *
   * @param {object} data any JSON object; an `update_id` is added unless it has one
   * @returns {string}
   * @throws {Error} when nobody could get it (too large, no seat, over, too many waiting)
   */
  send(data) {
    if (!this.#link || this.isFinal || this.light === "replaced") {
      throw new Error(`nothing was sent: the state is ${this.state}, the connection ${this.light}`);
    }
    const update = { ...data, update_id: data.update_id ?? freshId() };
    this.#link.send(update);
    return update.update_id;
  }

  /** Hands in the onboarding; afterwards the state is waiting (or in_task), or failed with a reason. */
  async submitOnboarding(onboarding_data) {
    const provider_data = { USED_AGENT_ID: this.agentId, onboarding_data };
    this.#seated(await this.#postJson("submit_onboarding", { provider_data }));
  }

  /**
   * Hands in the final data, once: a second call joins the first.
   *
   * @param {object} finalData
   * @param {Object<string, File | Iterable<File>>} files uploads by field name, if there are any
   */
  submitTask(finalData, files = {}) {
    this.#submission ??= this.#submitTask(finalData, files).catch((error) => {
      this.#submission = null; // refused: the page may mend the data and try again
      throw error;
    });
    return this.#submission;
  }

  /** Sends `{feedback: {data: [{question, text}]}}` or `{tips: {header, text}}`. */
  async submitMetadata(metadata) {
    await this.#postJson("submit_metadata", { USED_AGENT_ID: this.agentId, metadata });
  }

  /** Reports an error of the page to the task's authors. */
  async logError(error_data) {
    await this.#postJson("log_error", { USED_AGENT_ID: this.agentId, error_data });
  }

  async #submitTask(finalData, files) {
    const fields = { USED_AGENT_ID: this.agentId, final_data: finalData };
    const uploads = uploadsOf(files);
    if (uploads.length === 0) await this.#postJson("submit_task", fields);
    else await this.#post("submit_task", () => ({ body: formOf(fields, uploads) }));
    this.submitted = true;
    // The core confirms later, and on a static page unheard; a partner who left stays the outcome.
    if (!this.isFinal) Object.assign(this, { state: "completed", status: "completed" });
    this.#changed();
  }

  /** Takes the answer to a registration or an onboarding. */
  #seated(packet) {
    const details = packet?.data;
    if (typeof details?.agent_id !== "string") {
      return this.#fail(details?.failure_reason || "The server gave no seat and no reason.");
    }
    const isOnboarding = details.agent_id.startsWith("onboarding");
    const isRenamed = this.agentId !== null && this.agentId !== details.agent_id;
    this.agentId = details.agent_id;
    this.taskData = details.init_task_data ?? {};
    this.status = null;
    // A static page has no socket on which "in task" could come: its answer carries the work.
    this.state = isOnboarding ? "onboarding" : this.#live ? "waiting" : "in_task";
    this.#statusIs(details.status); // only of a seat that has ended already
    this.#changed();
    for (const data of this.taskData.past_live_updates ?? []) this.#updated(data, true);
    const isOver = this.isFinal && !this.owesSubmission; // a reload after the end
    if (this.#live && !this.#link && !isOver) this.#openLink();
    else if (isRenamed) this.#link?.rebind(this.agentId);
  }

  #openLink() {
    const url = new URL(this.#base);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    this.#link = new Link({
      url,
      agentId: this.agentId,
      onPacket: (packet) => this.#received(packet),
      onLight: (light) => {
        this.light = light;
        this.#changed();
      },
      onLost: (data) => this.#tell("lost", { data }),
      onSeatGone: () => this.#statusIs("mephisto disconnect"),
    });
    this.#link.open();
  }

  #received(packet) {
    switch (packet?.packet_type) {
      case "update_status":
      case "heartbeat": // its answer repeats the status, which mends a push that got lost
        return this.#statusIs(packet.data?.status);
      case "client_bound_live_update":
        return this.#updated(packet.data ?? {}, false);
      case "log_error":
        return this.#tell("refused", packet.data);
    }
  }

  #statusIs(status) {
    const state = STATE_OF[status];
    if (!state || status === "accepted" || this.state === "failed") return;
    // Final is final, except that the core may correct one end into another.
    if (this.isFinal && !FINAL_STATES.includes(state)) return;
    if (state === "onboarding" && this.state !== "onboarding") return;
    const isNews = state !== this.state || status !== this.status;
    const isConfirmed = !this.#told && FINAL_STATES.includes(state);
    Object.assign(this, { state, status });
    this.#told ||= isConfirmed;
    if (isNews || isConfirmed) this.#changed();
  }

  #updated(data, past) {
    if (data.update_id !== undefined) {
      if (this.#seen.has(data.update_id)) return;
      this.#seen.add(data.update_id);
      if (this.#seen.size > SEEN_LIMIT) this.#seen.delete(this.#seen.values().next().value);
    }
    this.#tell("update", { data, past });
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  #fail(reason) {
    this.agentId = null;
    this.state = "failed";
    this.failureReason = reason;
    this.#link?.stop();
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
    // Over, known to everybody, nothing owed: the socket has no more to say.
    if (this.#told && !this.owesSubmission && ["up", "unreachable", "lost"].includes(this.light)) {
      this.#link.stop();
    }
  }

  #postJson(what, body) {
    return this.#post(what, () => ({
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ ...body, client_timestamp: wireTime() }),
    }));
  }

  async #post(what, makeInit) {
    this.posting += 1;
    this.#changed();
    try {
      const url = new URL(what, this.#base);
      return await postUntilAccepted(url, makeInit, (retry) => this.#tell("retry", { what, ...retry }));
    } finally {
      this.posting -= 1;
      this.#changed();
    }
  }
}

/**
 * Makes the worker of this page; nothing is sent before `start()`.
 *
 * @param {object} [options]
 * @param {boolean} [options.live] opens a WebSocket once seated; a static task needs none
 * @param {string | URL} [options.base] the folder of the task's routes; default: the page's own
 * @param {string} [options.name] default: `?worker=` of the address, or a fresh readable name
 * @param {string} [options.assignment] default: `?assignment=` of the address, or "demo"
 * @param {string} [options.providerType]
 * @returns {TaskWorker}
 */
export function connectWorker({ live = false, base = ".", name, assignment, providerType = "demo" } = {}) {
  const found = name && assignment ? {} : identityFromAddress();
  return new TaskWorker({
    live,
    base: new URL(base, location.href),
    name: name ?? found.name,
    assignment: assignment ?? found.assignment,
    providerType,
  });
}
