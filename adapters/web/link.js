/**
 * One agent's WebSocket: it reconnects, beats, keeps order and loses no live update.
 *
 * Rules:
 * 1. After every open, `alive` goes first, then a heartbeat, then the updates, oldest first.
 * 2. A heartbeat goes every 5 s. Its answer proves that the router read all that was sent before
 *    it, so only then is an update forgotten. After a reconnect the others are sent again; their
 *    `update_id` lets the receiver drop a repeat.
 * 3. A socket that stays silent from one heartbeat to the next is dead and is replaced.
 * 4. Reconnecting is patient (exponential backoff, full jitter) and never ends, except when
 *    another tab took over (close code 4001, or an answer whose `last_mephisto_ping` is 0) or the
 *    seat is gone (4004, 4009).
 * @module
 */

import { backoff } from "./post.js";

const HEARTBEAT_MS = 5_000;
const OPEN_LIMIT_MS = 10_000;
const PING_LIMIT_MS = 20_000;
const BACKOFF_BASE_S = 0.5;
// Well inside a router's grace time of 10 s, so that a short loss costs nobody a seat.
const BACKOFF_CAP_S = 4;
const QUEUE_LIMIT = 1_000;
// The core takes at most 1 MiB a message, and the packet around the update needs some of it.
const UPDATE_LIMIT = 2 ** 20 - 4096;
const REPLACED_CODE = 4001;
// The core knows this seat no more, or has given its id to somebody else.
const SEAT_GONE_CODES = new Set([4004, 4009]);
// The router would not read something: sent again, it would close the connection again.
const UNREADABLE_CODES = new Set([1003, 1007, 1009]);

/** Seconds since the epoch, as the wire wants them. */
export const wireTime = () => Date.now() / 1000;

/** A random id. `crypto.randomUUID` would do, but browsers hide it on plain http. */
export function freshId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class Link {
  #url;
  #agentId;
  #onPacket;
  #onLight;
  #onLost;
  #onSeatGone;
  #socket = null;
  #light = "idle";
  #unsettled = []; // {data, sent, beat}: updates whose arrival is not proved yet, in order
  #beats = 0; // heartbeats sent on this socket
  #answers = 0; // and answered
  #heard = false;
  #lastBeat = 0;
  #openedAt = 0;
  #attempt = 0;
  #retryAt = Infinity;
  #stopTicking = null;

  /**
   * @param {object} options
   * @param {URL} options.url where the WebSocket is
   * @param {string} options.agentId
   * @param {(packet: object) => void} options.onPacket called for every packet, in order
   * @param {(light: string) => void} options.onLight called for every change of the light
   * @param {(data: object) => void} options.onLost called for each update that is given up
   * @param {() => void} options.onSeatGone called when the router says that there is no such seat
   */
  constructor({ url, agentId, onPacket, onLight, onLost, onSeatGone }) {
    this.#url = url;
    this.#agentId = agentId;
    this.#onPacket = onPacket;
    this.#onLight = onLight;
    this.#onLost = onLost;
    this.#onSeatGone = onSeatGone;
  }

  open() {
    const hurry = () => this.#hurry();
    addEventListener("online", hurry);
    document.addEventListener("visibilitychange", hurry);
    const stopClock = startClock(() => this.#tick());
    this.#stopTicking = () => {
      stopClock();
      removeEventListener("online", hurry);
      document.removeEventListener("visibilitychange", hurry);
    };
    this.#connect();
  }

  /** Speaks for another agent id from now on (upstream renames an agent after its onboarding). */
  rebind(agentId) {
    const old = this.#socket;
    this.#agentId = agentId;
    this.#connect();
    // The new socket comes first, so that the router never sees this worker without one.
    this.#socket.addEventListener("open", () => old?.close(1000));
  }

  /**
   * Queues a live update; it leaves at once when the socket is open.
   *
   * @throws {RangeError} when it is too large for the wire, or too many wait already
   */
  send(data) {
    if (new Blob([JSON.stringify(data)]).size > UPDATE_LIMIT) {
      throw new RangeError(`an update of more than ${UPDATE_LIMIT} bytes does not fit the wire`);
    }
    if (this.#unsettled.length >= QUEUE_LIMIT) {
      throw new RangeError(`${QUEUE_LIMIT} updates wait for the connection; this one was not taken`);
    }
    this.#unsettled.push({ data, sent: false, beat: 0 });
    this.#flush();
  }

  /** Closes for good and leaves this light on. */
  stop(light = "idle") {
    this.#stopTicking?.();
    this.#stopTicking = null;
    this.#retryAt = Infinity;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
    this.#setLight(light);
  }

  #connect() {
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    this.#openedAt = performance.now();
    this.#retryAt = Infinity;
    if (this.#light === "idle") this.#setLight("connecting");
    // Each handler asks whether its socket is still the current one: a dead one may close late.
    socket.onopen = () => socket === this.#socket && this.#opened();
    socket.onmessage = ({ data }) => socket === this.#socket && this.#received(data);
    socket.onclose = ({ code }) => socket === this.#socket && this.#closed(code);
  }

  #opened() {
    this.#attempt = 0;
    this.#beats = 0;
    this.#answers = 0;
    for (const update of this.#unsettled) update.sent = false;
    this.#transmit("alive", { update_id: freshId() });
    this.#beat();
    this.#flush();
    this.#setLight("up"); // last: whoever is told may stop the link
  }

  #closed(code) {
    this.#socket = null;
    if (code === REPLACED_CODE) return this.stop("replaced");
    if (SEAT_GONE_CODES.has(code)) {
      this.stop();
      return this.#onSeatGone();
    }
    if (UNREADABLE_CODES.has(code)) {
      for (const { data } of this.#unsettled.splice(0)) this.#onLost(data);
    }
    this.#retryAt = performance.now() + 1000 * backoff(this.#attempt, BACKOFF_BASE_S, BACKOFF_CAP_S);
    this.#attempt += 1;
    this.#setLight("lost");
  }

  #received(text) {
    this.#heard = true;
    let packet;
    try {
      packet = JSON.parse(text);
    } catch {
      console.warn("statecore: a frame that is no JSON was ignored", text);
      return;
    }
    if (packet?.packet_type === "heartbeat") this.#answered(packet);
    if (this.#stopTicking) this.#onPacket(packet);
  }

  #answered(packet) {
    this.#answers += 1;
    this.#unsettled = this.#unsettled.filter(({ sent, beat }) => !sent || beat >= this.#answers);
    const ping = packet.data?.last_mephisto_ping;
    if (ping === 0) return this.stop("replaced");
    if (typeof ping !== "number") return;
    // Compared by the router's own clock where it tells us: this device's may be wrong.
    const now = packet.router_outgoing_timestamp ? packet.router_outgoing_timestamp * 1000 : Date.now();
    this.#setLight(now - ping > PING_LIMIT_MS ? "unreachable" : "up");
  }

  #tick() {
    const now = performance.now();
    if (!this.#socket) {
      if (now >= this.#retryAt) this.#connect();
    } else if (this.#socket.readyState === WebSocket.CONNECTING) {
      if (now - this.#openedAt > OPEN_LIMIT_MS) this.#abandon();
    } else if (this.#socket.readyState === WebSocket.OPEN && now - this.#lastBeat >= HEARTBEAT_MS) {
      if (this.#heard) this.#beat();
      else this.#abandon();
    }
  }

  /** Gives a silent socket up without waiting for its closing handshake. */
  #abandon() {
    const socket = this.#socket;
    this.#closed(0);
    socket.close();
  }

  /** The device came online or somebody looks at the window again: do not wait any longer. */
  #hurry() {
    if (!this.#socket && !document.hidden) this.#connect();
  }

  #beat() {
    this.#heard = false;
    this.#lastBeat = performance.now();
    this.#beats += 1;
    this.#transmit("heartbeat", {});
  }

  #flush() {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    for (const update of this.#unsettled) {
      if (update.sent) continue;
      this.#transmit("mephisto_bound_live_update", update.data);
      update.sent = true;
      update.beat = this.#beats; // proved by the answer to the next heartbeat, number beats + 1
    }
  }

  #transmit(packetType, data) {
    const packet = {
      packet_type: packetType,
      subject_id: this.#agentId,
      data,
      client_timestamp: wireTime(),
    };
    this.#socket.send(JSON.stringify(packet));
  }

  #setLight(light) {
    if (light === this.#light) return;
    this.#light = light;
    this.#onLight(light);
  }
}

/** Calls `tick` twice a second, also in a hidden window; returns the function that stops it. */
function startClock(tick) {
  let timer = null;
  let ticker = null;
  const fallBack = () => {
    timer ??= setInterval(tick, 500);
  };
  try {
    ticker = new Worker(new URL("./ticker.js", import.meta.url));
    ticker.onmessage = tick;
    ticker.onerror = fallBack;
  } catch {
    fallBack(); // a strict content policy, or a script served from another origin
  }
  return () => {
    ticker?.terminate();
    clearInterval(timer);
  };
}
