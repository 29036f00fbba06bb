// What turns the direction of the text that follows: a name that holds one could look like another, or turn what
// stands beside it.
const turning = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/;
const escaped = /\\u(061c|200[ef]|202[a-e]|206[6-9])/i;

/** read is JSON of the relay's, in which such marks are seen as what they are: a sign in their place. */
export function read(text: string): unknown {
  if (!turning.test(text) && !escaped.test(text)) return JSON.parse(text);
  const raw = new RegExp(turning, "g"); // in JSON they stand in strings only, names of fields among them
  const codes = new RegExp(`(?<=(?<!\\\\)(?:\\\\\\\\)*)${escaped.source}`, "gi"); // not where the backslash is itself escaped
  return JSON.parse(text.replace(raw, "\ufffd").replace(codes, "\ufffd"));
}
