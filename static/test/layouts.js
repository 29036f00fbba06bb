// What keyboards type with AltGr (Windows and Linux) and with Option (a Mac), by the places of their
// keys: "+" is Shift, and a character with a "´" behind it is a dead key. Taken from the layouts
// themselves, each with what clashes with digits and letters that pages like to use.
export const layouts = {
  us: {
    plain: "1234567890",
    altgr: {},
    option: { Digit1: "¡", Digit2: "™", Digit3: "£", Digit4: "¢", Digit5: "∞", Digit6: "§", Digit7: "¶", Digit8: "•", Digit9: "ª", Digit0: "º", KeyT: "†", KeyN: "~´", KeyE: "´´", KeyC: "ç", KeyF: "ƒ", KeyV: "√", "+Digit2": "€", "+KeyT": "ˇ" },
  },
  "us-intl": {
    plain: "1234567890",
    altgr: { Digit1: "¡", Digit2: "²", Digit3: "³", Digit4: "¤", Digit5: "€", Digit6: "¼", Digit7: "½", Digit8: "¾", Digit9: "‘", Digit0: "’", KeyT: "þ", KeyQ: "ä", KeyE: "é", KeyC: "©", "+Digit1": "¹", "+Digit4": "£", "+KeyT": "Þ" },
    option: { Digit2: "™", Digit3: "£", KeyT: "†" },
  },
  uk: {
    plain: "1234567890",
    altgr: { Backquote: "¦", Digit4: "€", KeyE: "é", KeyU: "ú", KeyI: "í", KeyO: "ó", KeyA: "á", "+KeyE": "É" },
    option: { Digit1: "¡", Digit2: "€", Digit3: "#", Digit4: "¢", Digit5: "∞", Digit6: "§", Digit7: "¶", Digit8: "•", Digit9: "ª", Digit0: "º", KeyT: "†", KeyE: "´´" },
  },
  de: {
    plain: "1234567890",
    altgr: { KeyQ: "@", KeyE: "€", Digit2: "²", Digit3: "³", Digit7: "{", Digit8: "[", Digit9: "]", Digit0: "}", Minus: "\\", BracketRight: "~", IntlBackslash: "|", KeyM: "µ" },
    option: { KeyL: "@", KeyE: "€", Digit1: "¡", Digit2: "“", Digit3: "¶", Digit4: "¢", Digit5: "[", Digit6: "]", Digit7: "|", Digit8: "{", Digit9: "}", Digit0: "≠", "+Digit7": "\\", KeyN: "~´", KeyT: "†", KeyC: "ç" },
  },
  fr: {
    plain: "&é\"'(-è_çà",
    altgr: { Digit2: "~´", Digit3: "#", Digit4: "{", Digit5: "[", Digit6: "|", Digit7: "`´", Digit8: "\\", Digit9: "^", Digit0: "@", Minus: "]", Equal: "}", KeyE: "€", BracketRight: "¤" },
    option: { Digit5: "{", Minus: "}", "+Digit5": "[", "+Minus": "]", "+KeyL": "|", "+Period": "\\", KeyN: "~´", KeyE: "ê", KeyT: "†", BracketRight: "€" },
  },
  es: {
    plain: "1234567890",
    altgr: { Backquote: "\\", Digit1: "|", Digit2: "@", Digit3: "#", Digit4: "~´", Digit5: "€", Digit6: "¬", BracketLeft: "[", BracketRight: "]", Quote: "{", Backslash: "}", KeyE: "€" },
    option: { Digit1: "|", Digit2: "@", Digit3: "#", Digit4: "¢", Digit5: "∞", Digit6: "¬", BracketLeft: "[", BracketRight: "]", Quote: "{", Backslash: "}", KeyN: "~´", KeyT: "†", KeyE: "€" },
  },
  it: {
    plain: "1234567890",
    altgr: { Semicolon: "@", Quote: "#", BracketLeft: "[", BracketRight: "]", "+BracketLeft": "{", "+BracketRight": "}", KeyE: "€", Digit5: "€" },
    option: { Semicolon: "@", Quote: "#", BracketLeft: "[", BracketRight: "]", "+BracketLeft": "{", "+BracketRight": "}", Digit5: "~", Digit9: "`", KeyE: "€", KeyT: "™" },
  },
  "pt-br": {
    plain: "1234567890",
    altgr: { Digit1: "¹", Digit2: "²", Digit3: "³", Digit4: "£", Digit5: "¢", Digit6: "¬", Equal: "§", BracketLeft: "ª", Backslash: "º", KeyQ: "/", KeyW: "?", KeyE: "€", IntlRo: "°", KeyC: "₢" },
    option: { Digit1: "¡", Digit2: "™", Digit3: "£", Digit4: "¢", KeyT: "†", KeyN: "~´" },
  },
  se: {
    plain: "1234567890",
    altgr: { Digit2: "@", Digit3: "£", Digit4: "$", Digit5: "€", Digit7: "{", Digit8: "[", Digit9: "]", Digit0: "}", Minus: "\\", BracketRight: "~´", IntlBackslash: "|", KeyE: "€", KeyM: "µ" },
    option: { Digit2: "@", Digit3: "£", Digit4: "$", Digit7: "|", "+Digit7": "\\", Digit8: "[", Digit9: "]", "+Digit8": "{", "+Digit9": "}", KeyT: "†" },
  },
  no: {
    plain: "1234567890",
    altgr: { Digit2: "@", Digit3: "£", Digit4: "$", Digit5: "€", Digit7: "{", Digit8: "[", Digit9: "]", Digit0: "}", BracketRight: "~´", KeyE: "€", KeyM: "µ" },
    option: { Backslash: "@", Digit7: "|", "+Digit7": "\\", Digit8: "[", Digit9: "]", "+Digit8": "{", "+Digit9": "}", KeyT: "†" },
  },
  pl: {
    plain: "1234567890",
    altgr: { KeyA: "ą", KeyC: "ć", KeyE: "ę", KeyL: "ł", KeyN: "ń", KeyO: "ó", KeyS: "ś", KeyX: "ź", KeyZ: "ż", KeyU: "€", "+KeyA": "Ą", "+KeyC": "Ć", "+KeyE": "Ę", "+KeyL": "Ł", "+KeyZ": "Ż" },
    option: { KeyA: "ą", KeyC: "ć", KeyE: "ę", KeyL: "ł", KeyN: "ń", KeyO: "ó", KeyS: "ś", KeyX: "ź", KeyZ: "ż", "+KeyL": "Ł", Digit3: "#", KeyT: "†" },
  },
  ch: {
    plain: "1234567890",
    altgr: { Digit1: "¦", Digit2: "@", Digit3: "#", Digit6: "¬", Digit7: "|", Digit8: "¢", Minus: "´´", Equal: "~´", BracketLeft: "[", BracketRight: "]", Quote: "{", Backslash: "}", IntlBackslash: "\\", KeyE: "€" },
    option: { KeyG: "@", Digit3: "#", Digit5: "[", Digit6: "]", Digit7: "|", "+Digit7": "\\", Digit8: "{", Digit9: "}", KeyN: "~´", KeyE: "€", KeyT: "†" },
  },
  jp: {
    plain: "1234567890",
    altgr: {},
    option: { Digit1: "¡", Digit2: "™", Digit3: "£", Digit4: "¢", Digit5: "∞", Digit6: "§", Digit7: "¶", Digit8: "•", Digit9: "ª", IntlYen: "\\", KeyT: "†" },
  },
};

const codes = (code) => /^(?:Key|Digit)(.)$/.exec(code)?.[1].charCodeAt(0) ?? { Minus: 189, Equal: 187, BracketLeft: 219, BracketRight: 221, Quote: 222, Semicolon: 186, Backslash: 220, IntlBackslash: 226, Backquote: 192, Period: 190 }[code] ?? 255;

const none = { ctrlKey: false, altKey: false, shiftKey: false, metaKey: false, graph: false };

/** keyEvent is a keyboard event as browsers tell it. */
export function keyEvent(type, o) {
  const { graph, ...e } = { ...none, key: "", code: "", location: 0, keyCode: 0, isComposing: false, ...o };
  const ev = Object.assign(new Event(type, { cancelable: true }), e, { which: type === "keypress" ? [...e.key][0].codePointAt(0) : e.keyCode });
  ev.getModifierState = (name) => (name === "AltGraph" ? graph : false);
  return ev;
}

/**
 * The ways in which platforms and their browsers tell of a character of the third level: what the
 * modifiers are, which go down first, and what is told with the character.
 */
export const platforms = {
  // Chromium and Firefox of today: no Ctrl and no Alt behind AltGr.
  windows: { from: "altgr", mac: false, navigator: "Win32", held: [{ key: "Control", code: "ControlLeft", keyCode: 17, location: 1, ctrlKey: true }, { key: "AltGraph", code: "AltRight", keyCode: 18, location: 2, graph: true }], flags: { graph: true } },
  // Others, and Ctrl+Alt instead of AltGr.
  "windows, Ctrl and Alt": { from: "altgr", mac: false, navigator: "Win32", held: [{ key: "Control", code: "ControlLeft", keyCode: 17, location: 1, ctrlKey: true }, { key: "Alt", code: "AltRight", keyCode: 18, location: 2, ctrlKey: true, altKey: true }], flags: { ctrlKey: true, altKey: true } },
  linux: { from: "altgr", mac: false, navigator: "Linux x86_64", held: [{ key: "AltGraph", code: "AltRight", keyCode: 225, location: 2, graph: true }], flags: { graph: true } },
  mac: { from: "option", mac: true, navigator: "MacIntel", held: [{ key: "Alt", code: "AltLeft", keyCode: 18, location: 1, altKey: true }], flags: { altKey: true } },
};

/** strokes are the characters of a layout's third level on a platform, each as the events of its keys. */
export function* strokes(layout, platform) {
  const p = platforms[platform];
  for (const [place, typed] of Object.entries(layouts[layout][p.from])) {
    const shifted = place.startsWith("+");
    const code = place.replace("+", "");
    const dead = typed.endsWith("´") && [...typed].length === 2;
    const char = [...typed][0];
    const shift = { key: "Shift", code: "ShiftLeft", keyCode: 16, location: 1, shiftKey: true };
    const held = [...p.held, ...(shifted ? [{ ...p.flags, ...shift }] : [])];
    const press = { ...p.flags, shiftKey: shifted, code, key: dead ? "Dead" : char, keyCode: dead ? 229 : codes(code) };
    const up = held.toReversed().map((m) => keyEvent("keyup", { ...m, ctrlKey: false, altKey: false, shiftKey: false, graph: false }));
    yield {
      char: dead ? undefined : char, press,
      events: [...held.map((m) => keyEvent("keydown", m)), keyEvent("keydown", press), ...(dead ? [] : [keyEvent("keypress", { ...press, key: char })]), keyEvent("keyup", press), ...up],
    };
  }
}
