package desktop

import (
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// racer is this program as another user that connects to a port as fast as it can; see
// [TestCallbackIsForGuacdAlone].
const racer = "SCRIER_TEST_RACER"

func TestMain(m *testing.M) {
	if addr := os.Getenv(racer); addr != "" {
		race(addr)
		return
	}
	goleak.VerifyTestMain(m)
}

func race(addr string) {
	fmt.Println("racing")
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return // the port is closed: somebody has won
		}
		_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		b := make([]byte, 1)
		if n, _ := c.Read(b); n > 0 {
			fmt.Println("won")
			return
		}
		_ = c.Close()
	}
}
