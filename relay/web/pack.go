package web

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strconv"
)

const (
	packFrom = 1400 // bytes: what is less fits into one packet as it is
	// padding is the most bytes of no meaning in a compressed answer.
	padding = 255
)

// pack is write, compressed for those who take gzip.
//
// The length of something compressed tells of what is in it: who can put words of their own beside a
// secret, and watch the line, can guess the secret letter by letter (BREACH). So only lists are marked for it,
// which hold no token, link, ticket or cookie; other sites' pages cannot ask for them ([Browser]); and each
// answer has a length that is not quite its own.
func (a *api) pack(w http.ResponseWriter, r *http.Request, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		a.fail(w, err)
		return
	}
	data = append(data, '\n')
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Add("Vary", "Accept-Encoding")
	if len(data) >= packFrom && pickCoding(r.Header.Values("Accept-Encoding"), []string{"gzip"}) == "gzip" {
		h.Set("Content-Encoding", "gzip")
		data = a.squeeze(data)
	}
	h.Set("Content-Length", strconv.Itoa(len(data)))
	if _, err := w.Write(data); err != nil {
		a.Log.Debug("write answer", "err", err)
	}
}

// squeeze compresses data, with up to [padding] bytes besides.
func (a *api) squeeze(data []byte) []byte {
	var out bytes.Buffer
	out.Grow(len(data) / 8)
	z, ok := a.packers.Get().(*gzip.Writer) // one takes a megabyte
	if !ok {
		z, _ = gzip.NewWriterLevel(&out, gzip.BestSpeed) // a level that there is
	}
	defer a.packers.Put(z)
	z.Reset(&out)
	more := make([]byte, 1+padding)
	_, _ = rand.Read(more) // never fails
	z.Extra = more[:more[padding]]
	_, _ = z.Write(data) // into memory
	_ = z.Close()
	return out.Bytes()
}
