/**
 * The seven states, the wire's statuses that mean them, and an honest sentence for every end.
 *
 * STATE_OF is the page's copy of `statecore.status.STATE_OF`; the two must say the same.
 * @module
 */

/** The states in the order in which a rail shows them; the last three are final. */
export const STATES = Object.freeze([
  "connecting",
  "onboarding",
  "waiting",
  "in_task",
  "completed",
  "disconnected",
  "failed",
]);

export const FINAL_STATES = Object.freeze(["completed", "disconnected", "failed"]);

/** Wire status -> state. `null` means that the status moves nothing. */
export const STATE_OF = Object.freeze({
  "none": null,
  "accepted": "waiting",
  "onboarding": "onboarding",
  "waiting": "waiting",
  "in task": "in_task",
  "completed": "completed",
  "partner disconnect": "completed",
  "approved": "completed",
  "soft_rejected": "completed",
  "rejected": "completed",
  "disconnect": "disconnected",
  "timeout": "disconnected",
  "expired": "disconnected",
  "returned": "disconnected",
  "mephisto disconnect": "disconnected",
});

/** One line for each state, for a status line that is read aloud. */
export const STATE_SENTENCES = Object.freeze({
  connecting: "Asking for a seat in the task.",
  onboarding: "A short introduction comes before the task.",
  waiting: "You have a seat. The task has not started yet.",
  in_task: "You are in the task.",
  completed: "You are done.",
  disconnected: "You are no longer in the task.",
  failed: "You did not get into the task.",
});

/** Terminal wire status -> what happened, and what the worker can do about it. */
export const ENDINGS = Object.freeze({
  "completed": {
    title: "Handed in. Thank you!",
    text: "Your work reached the task's server.",
    todo: "There is nothing left to do. You may close this window.",
  },
  "approved": {
    title: "Approved. Thank you!",
    text: "Your work was handed in, looked at and approved.",
    todo: "There is nothing left to do. You may close this window.",
  },
  "soft_rejected": {
    title: "Handed in and reviewed",
    text: "Your work was looked at. The people who asked for it will not use it as it is.",
    todo: "There is nothing left to do here. Write to them if you want to know why.",
  },
  "rejected": {
    title: "Reviewed and not accepted",
    text: "Your work was looked at and turned down.",
    todo: "If you think that this is a mistake, write to the people who posted the task.",
  },
  "partner disconnect": {
    title: "Handed in, although your partner left",
    text: "Your partner left before the end. That is not held against you.",
    todo: "There is nothing left to do. You may close this window.",
  },
  "disconnect": {
    title: "You were disconnected",
    text: "The server heard nothing from this window for longer than the task allows, so it gave up your seat. It cannot be taken back.",
    todo: "If you had done much of the work already, write to the people who posted the task.",
  },
  "timeout": {
    title: "The time ran out",
    text: "The task was not handed in within the time that it allows, so it is closed.",
    todo: "If you had done much of the work already, write to the people who posted the task.",
  },
  "expired": {
    title: "This task was withdrawn",
    text: "The people who posted the task ended it before you were done.",
    todo: "Nothing that you did caused this. You may take another task.",
  },
  "returned": {
    title: "The task was given back",
    text: "Your seat was returned, so nothing more from this window counts.",
    todo: "You may take another task.",
  },
  "mephisto disconnect": {
    title: "The task's server is gone",
    text: "The program that runs the task went away or was started anew, and does not know this seat any more.",
    todo: "If you had done much of the work already, write to the people who posted the task.",
  },
});

/** What a page shows while a submission is still owed because a partner left. */
export const PARTNER_LEFT = Object.freeze({
  title: "Your partner left",
  text: "Your partner's connection is gone for good, so the task ends here. That is not held against you.",
  todo: "Hand in what you have: one submission is still expected from you.",
});
