package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/coder/websocket"

	"scrier/relay/guac"
)

// The bridge is the least that brings a desktop into a page: guacd's stream over a WebSocket, to
// guacamole-common-js as it is. No TLS, no session, no policy; guacd connects to the VNC server by
// itself. It serves the page, too.
const (
	bridgeRole = "bridge" // first argument of the process that is started
	bridgeWait = 15 * time.Second
	bridgeFull = 8 << 10 // bytes of whole instructions in a message: what Guacamole's own servlet gathers
	bridgeMost = 1 << 20 // bytes of a message of the page's
)

// bridge is one that runs.
type bridge struct {
	guacd   string
	vncPort string
}

// bridgeMain is the bridge's process: GUACD VNC-PORT DIR, where DIR holds the page.
func bridgeMain(args []string) error {
	if len(args) != 3 {
		return errors.New("this role is started by bench itself")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	b := &bridge{guacd: args[0], vncPort: args[1]}
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir(args[2])))
	mux.HandleFunc("/tunnel", func(w http.ResponseWriter, r *http.Request) {
		if err := b.serve(w, r); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	})
	fmt.Println("listens on", l.Addr())
	return http.Serve(l, mux)
}

// serve is one desktop in one page, until the page or guacd ends it.
func (b *bridge) serve(w http.ResponseWriter, r *http.Request) error {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"guacamole"}})
	if err != nil {
		return err
	}
	defer ws.CloseNow()
	ws.SetReadLimit(bridgeMost)
	conn, err := net.DialTimeout("tcp", b.guacd, bridgeWait)
	if err != nil {
		return err
	}
	defer conn.Close()
	port, err := strconv.Atoi(b.vncPort)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	width, werr := strconv.Atoi(q.Get("width"))
	height, herr := strconv.Atoi(q.Get("height"))
	if err := errors.Join(werr, herr); err != nil {
		return err
	}
	// All that guacd draws by is as Scrier asks for it.
	g, err := guac.Handshake(r.Context(), conn, guac.Params{
		Protocol: "vnc", Args: guac.VNC{Hostname: "127.0.0.1", Port: port}.Args(), Width: width, Height: height, DPI: 96,
		Audio: []string{"audio/L8", "audio/L16"}, Image: []string{"image/jpeg", "image/png", "image/webp"}, Timezone: q.Get("timezone"),
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	typed := make(chan error, 1)
	go func() {
		defer cancel()
		defer conn.Close()
		typed <- bridgeType(ctx, conn, ws)
	}()
	err = bridgeShow(ctx, ws, g)
	cancel()
	_ = ws.CloseNow() // the page has left, or is told so
	if terr := <-typed; terr != nil {
		return terr
	}
	if ctx.Err() != nil {
		return nil // the page has left
	}
	return err
}

// bridgeShow copies guacd's instructions to the page, whole ones in each message.
func bridgeShow(ctx context.Context, ws *websocket.Conn, g *guac.Connection) error {
	out := guac.Append(nil, "", g.ID) // opens the page's tunnel
	for {
		if len(out) > 0 && (!g.More() || len(out) >= bridgeFull) {
			if err := ws.Write(ctx, websocket.MessageText, out); err != nil {
				return err
			}
			out = out[:0]
		}
		i, err := g.Next()
		if err != nil {
			return err
		}
		out = append(out, i.Raw()...)
	}
}

// bridgeType copies the page's instructions to guacd. Those without an opcode are the page's own
// pings, which go back.
func bridgeType(ctx context.Context, conn net.Conn, ws *websocket.Conn) error {
	for {
		_, p, err := ws.Read(ctx)
		if err != nil {
			return nil // the page has left
		}
		if len(p) > 2 && string(p[:2]) == "0." {
			err = ws.Write(ctx, websocket.MessageText, p)
		} else {
			_, err = conn.Write(p)
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}
