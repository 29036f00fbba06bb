// Package screen is a terminal's memory without a terminal: it reads what a shell prints and knows what
// is on the screen, so that a viewer can be shown that instead of all that led to it.
//
// A [Screen] is given every byte of the output ([Screen.Write], cut anywhere) and every size
// ([Screen.Resize]). [Screen.Repaint] gives the bytes that make a viewer's terminal equal, cell by cell, to one
// that was given every byte, whatever part of them it has been given, and wherever that part ended; what comes
// next can then be sent as it comes. It answers no question: those are the viewer's terminal's to answer.
//
// The pattern is the page's terminal, xterm.js 6 with its add-on for the widths of characters, in all its ways,
// and the tests hold the two against each other. A viewer with another terminal sees the same wherever that one
// and xterm.js agree.
//
// # What is kept
//
// Both buffers with their lines, which of these are wrapped, cursor, saved cursor, scroll region and tab stops;
// colours and attributes, with the kinds and colours of underlines; the sets of characters; all modes that
// xterm.js has, and those of keyboards and of a few others that it has not; the shape of the cursor; the title;
// changed colours (OSC 4, 10 to 12, 104, 110 to 112); the unfinished sequence or character at the output's end,
// and the last character, which may be repeated or joined by a mark.
//
// # What is not
//
//   - Links (OSC 8): their text stays, the address goes. Of images, notifications, the clipboard, the title stack
//     and left and right margins nothing is kept.
//   - The lines above the screen are the viewer's own. A repaint clears none, though the output may have, and
//     moves those up that the screen has lost since ([Screen.Left]), so that none is lost that was seen and none is
//     there twice. The screen's first line is not marked as one that goes on from above.
//   - A resize brings lines from above the screen back onto it: 18 or more for one of 24 lines, the rest empty. It
//     cuts the alternate screen's lines, where xterm.js remembers what is behind the edge: programs paint it again.
//   - Of a cell no more than 15 code points, of a title no more than 256 bytes, of a screen no more than 32,768
//     different clusters.
//   - A few things can be on a screen that no other output leads to, and are painted as near as can be: half of a
//     wide character that a resize has cut, or the cursor behind the last column while that is empty. In the tests
//     Reachable lists them.
package screen
