// Package console shares the screen of whoever sits at this machine, if they agree.
//
// [Console.Share] finds the active graphical user, asks them on their own screen ([Always]), shows
// a window that says who is looking for as long as it lasts, and starts a VNC server as that user:
// x11vnc for X11, wayvnc for compositors of the wlroots family. No port is opened: x11vnc speaks on
// one end of a socket pair, wayvnc on a Unix socket that is removed as soon as it was connected to.
// GNOME and KDE under Wayland let nobody but their own server see the screen; where the user has
// switched that on, it is used.
//
// Everything that touches the screen runs as its user, with an environment made here and programs
// of the system's own folders. No shell sees a string of a user or an operator.
//
// The package does not keep an answer: each Share asks anew.
package console
