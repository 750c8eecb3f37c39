/**
 * The onboarding quiz: the guideline and the questions. The right answers are not here: the task's
 * program judges `{answers: {<id>: <value>}}`.
 */

export const GUIDELINE =
  "Say what the writer mainly wants. Question: they want an answer. Complaint: something is wrong " +
  "and they want it noticed or mended. Praise: they are happy and say so. If a message does two of " +
  "these, question goes before complaint, and complaint before praise. If you are unsure, choose " +
  "what fits best; never leave one out.";

export const QUESTIONS = [
  {
    id: "ask",
    text: "A message complains, and then asks when a refund will come. Which label?",
    options: [["praise", "Praise"], ["complaint", "Complaint"], ["question", "Question"]],
  },
  {
    id: "mixed",
    text: "“Lovely staff, but my parcel arrived broken.” Which label?",
    options: [["praise", "Praise"], ["complaint", "Complaint"], ["question", "Question"]],
  },
  {
    id: "unsure",
    text: "You are not sure about a message. What do you do?",
    options: [["skip", "Leave it out"], ["best", "Choose what fits best"], ["random", "Pick one at random"]],
  },
];
