// Package console shares the screen of whoever sits at this machine, if they agree.
//
// [Console.Share] finds the active graphical user, asks them on their own screen ([Always]), shows
// a window that says who is looking for as long as it lasts, and starts a VNC server as that user:
// x11vnc for X11, wayvnc for compositors of the wlroots family. No port is opened: x11vnc speaks on
// one end of a socket pair, wayvnc on a Unix socket that is removed as soon as it was connected to.
// GNOME and KDE under Wayland show the screen to their own server alone; that is used if the user has
// switched it on.
//
// Everything that touches the screen runs as its user, with an environment that is made here, and
// is a program of the system's own folders. No string of a user or an operator reaches a shell.
//
// An answer is not remembered: each Share asks again.
package console
