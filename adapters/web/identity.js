/**
 * Who works in this window: read from the page's address, made up for a fresh link.
 * @module
 */

const MOODS = "brave bright calm clever curious eager gentle happy jolly keen kind lively lucky merry mild neat proud quick quiet swift warm wise witty".split(" ");
const ANIMALS = "badger beaver bison crane dolphin falcon ferret finch fox gecko heron ibex koala lark lynx magpie marten mole moth otter owl panda puffin raven robin seal stork swan tapir toad vole wombat wren yak".split(" ");

const pick = (words) => words[crypto.getRandomValues(new Uint32Array(1))[0] % words.length];

/** A random name that a person can read out: "calm-otter-407". */
export function freshName() {
  const number = 100 + (crypto.getRandomValues(new Uint32Array(1))[0] % 900);
  return `${pick(MOODS)}-${pick(ANIMALS)}-${number}`;
}

/**
 * Reads `?worker=NAME&assignment=ID` and writes what was missing back into the address, so that a
 * reload is the same worker again and a copied address is a second tab of the same worker.
 *
 * @returns {{name: string, assignment: string}}
 */
export function identityFromAddress() {
  const url = new URL(location.href);
  const name = url.searchParams.get("worker")?.trim() || freshName();
  const assignment = url.searchParams.get("assignment")?.trim() || "demo";
  url.searchParams.set("worker", name);
  url.searchParams.set("assignment", assignment);
  history.replaceState(history.state, "", url);
  return { name, assignment };
}

/** The page's address without a worker: whoever opens it becomes a fresh one. */
export function freshLink() {
  const url = new URL(location.href);
  url.searchParams.delete("worker");
  url.hash = "";
  return url.href;
}
