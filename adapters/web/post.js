/**
 * POST requests that do not give up on paid work: they are repeated until a server takes them.
 *
 * A request is repeated when nobody answered, or when the answer says "not now" (429, 502, 503,
 * 504). Every other refusal is final and comes out as a {@link RefusedError}: repeating it would
 * not help, and the worker has to be told.
 * @module
 */

const NOT_NOW = new Set([429, 502, 503, 504]);
const BACKOFF_BASE_S = 1;
const BACKOFF_CAP_S = 15;
// A router may keep a registration waiting for 60 s; a request open for longer has lost its way.
const ANSWER_LIMIT_MS = 90_000;

/** The server understood the request and refused it. */
export class RefusedError extends Error {
  /**
   * @param {number} statusCode the HTTP status
   * @param {{text?: string, field?: string, expected?: string}} body what the server said
   */
  constructor(statusCode, body) {
    super(body.text || `the server answered with HTTP status ${statusCode}`);
    this.name = "RefusedError";
    this.statusCode = statusCode;
    this.field = body.field ?? null;
    this.expected = body.expected ?? null;
  }
}

/** Exponential backoff with full jitter: somewhere between nothing and the doubled limit. */
export function backoff(attempt, base, cap) {
  return Math.random() * Math.min(cap, base * 2 ** attempt);
}

/**
 * Posts until the request is accepted, and returns the parsed JSON answer (`null` if it is empty).
 *
 * @param {URL} url
 * @param {() => RequestInit} makeInit called for each attempt: a body can be read only once
 * @param {(retry: {attempt: number, seconds: number, why: string}) => void} onRetry told before
 *   each pause, so that a page can say what is going on
 * @throws {RefusedError} when the server refuses for good
 */
export async function postUntilAccepted(url, makeInit, onRetry) {
  for (let attempt = 0; ; attempt += 1) {
    let seconds = backoff(attempt, BACKOFF_BASE_S, BACKOFF_CAP_S);
    let why = "The server could not be reached.";
    try {
      const signal = AbortSignal.timeout(ANSWER_LIMIT_MS);
      const response = await fetch(url, { method: "POST", signal, ...makeInit() });
      const body = parseOrNull(await response.text());
      if (response.ok) return body;
      if (!NOT_NOW.has(response.status)) throw new RefusedError(response.status, body ?? {});
      why = "The server is busy or waits for the task's program.";
      // The jitter stays on top, so that all the waiting pages do not come back at once.
      seconds += Number(response.headers.get("Retry-After")) || 0;
    } catch (error) {
      if (error instanceof RefusedError) throw error;
      if (!navigator.onLine) why = "This device is offline.";
    }
    onRetry({ attempt: attempt + 1, seconds, why });
    await pauseOrOnline(seconds);
  }
}

/** The files of a submission as [field, file] pairs; a field may have one file or several. */
export function uploadsOf(files) {
  return Object.entries(files).flatMap(([field, value]) =>
    (value instanceof File ? [value] : [...value]).map((file) => [field, file]),
  );
}

/** A multipart body: texts and ids as they are, everything else as JSON text. */
export function formOf(fields, uploads) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    form.set(name, typeof value === "string" ? value : JSON.stringify(value));
  }
  for (const [field, file] of uploads) form.append(field, file, file.name);
  return form;
}

function parseOrNull(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Waits, but no longer than until the device is online again. */
function pauseOrOnline(seconds) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener("online", done);
      resolve();
    };
    const timer = setTimeout(done, seconds * 1000);
    addEventListener("online", done);
  });
}
