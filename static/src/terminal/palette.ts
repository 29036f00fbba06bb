import type { ITheme } from "@xterm/xterm";

// Text of the host's colours is kept readable by minimumContrastRatio besides.
export const dark: ITheme = {
  background: "#0f1216", foreground: "#e5e8ed", cursor: "#8cabff", cursorAccent: "#0f1216",
  selectionBackground: "#3a4f86", selectionInactiveBackground: "#2d3854",
  black: "#20262f", red: "#ff7b72", green: "#55c893", yellow: "#e5b454", blue: "#7aa2ff", magenta: "#d08cf0", cyan: "#4fc9d9", white: "#c9ced6",
  brightBlack: "#8b94a3", brightRed: "#ff9d96", brightGreen: "#7fdcb0", brightYellow: "#f2cd80", brightBlue: "#a3bfff", brightMagenta: "#e0aef8",
  brightCyan: "#84dfeb", brightWhite: "#ffffff",
};

export const light: ITheme = {
  background: "#ffffff", foreground: "#171a20", cursor: "#2a55cc", cursorAccent: "#ffffff",
  selectionBackground: "#bcd0ff", selectionInactiveBackground: "#dde5f7",
  black: "#171a20", red: "#b3261e", green: "#136c41", yellow: "#7a4d00", blue: "#2a55cc", magenta: "#8a2aa8", cyan: "#0b6a7a", white: "#565e6b",
  brightBlack: "#565e6b", brightRed: "#c4342b", brightGreen: "#17794a", brightYellow: "#855200", brightBlue: "#3563e0", brightMagenta: "#9a3bb8",
  brightCyan: "#0f7486", brightWhite: "#2b303a",
};
