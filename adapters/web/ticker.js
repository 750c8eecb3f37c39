/**
 * A clock in a Web Worker: one message every 500 ms.
 *
 * Browsers slow the timers of a window that nobody looks at down to one a minute, which is longer
 * than a router waits for a heartbeat. Timers in a Web Worker keep their pace.
 */
setInterval(() => postMessage(null), 500);
