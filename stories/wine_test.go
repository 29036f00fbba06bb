package stories

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// Two things that Go asks of Windows are not in Debian's wine 8. Neither is anything of ours, so the stories
// add them: a function of bcryptprimitives.dll (cmdWine), and a control code for UDP sockets (buildForWindows).

// buildForWindows builds the program for Windows, with a copy of one file of Go's own, in which it is no error
// that a system lacks SIO_UDP_NETRESET.
func buildForWindows(program string) error {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return err
	}
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "net", "fd_windows.go")
	text, err := os.ReadFile(original)
	if err != nil {
		return err
	}
	before, after, ok := bytes.Cut(text, []byte("SIO_UDP_NETRESET"))
	const check = "if err != nil {"
	const unsupported = "if err != nil && err != syscall.Errno(10045) {" // WSAEOPNOTSUPP
	if !ok || !bytes.Contains(after, []byte(check)) {
		return fmt.Errorf("%s is not as it was: see whether wine knows SIO_UDP_NETRESET now", original)
	}
	changed := program + ".fd_windows.go"
	text = append(append(before, "SIO_UDP_NETRESET"...), bytes.Replace(after, []byte(check), []byte(unsupported), 1)...)
	if err := os.WriteFile(changed, text, 0o600); err != nil {
		return err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(program+".json", overlay, 0o600); err != nil {
		return err
	}
	c := exec.Command("go", "build", "-overlay", program+".json", "-o", program, "scrier")
	c.Env = append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("build scrier for Windows: %w\n%s", err, out)
	}
	return nil
}

// cmdWine makes a Windows in $WORK/wine, in which "wine scrier.exe" runs.
func cmdWine(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: wine")
	}
	prefix := ts.MkAbs("wine")
	ts.Setenv("WINEPREFIX", prefix)
	ts.Setenv("WINEDEBUG", "-all")
	ts.Check(ts.Exec("wine", "wineboot", "--init"))
	dll := forwarder("bcryptprimitives.dll", "ProcessPrng", "advapi32.SystemFunction036") // is RtlGenRandom
	ts.Check(os.WriteFile(filepath.Join(prefix, "drive_c", "windows", "system32", "bcryptprimitives.dll"), dll, 0o644))
}

// forwarder is a DLL for x64 that has nothing but the name of a function, and where another DLL has it
// (the PE format's "forwarder RVA").
func forwarder(name, function, to string) []byte {
	const (
		page, sector = 0x1000, 0x200
		tables       = page + 40 // behind the export directory
		names        = tables + 4 + 4 + 2
	)
	var b bytes.Buffer
	put := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) } // a buffer takes anything
	functionAt := names + len(name) + 1
	toAt := functionAt + len(function) + 1
	put([]uint32{0, 0, 0, names, 1, 1, 1, tables, tables + 4, tables + 8})
	put([]uint32{uint32(toAt), uint32(functionAt)})
	put(uint16(0))
	b.WriteString(name + "\x00" + function + "\x00" + to + "\x00")
	exports := bytes.Clone(b.Bytes())
	size := uint32(len(exports))
	b.Reset()
	dos := make([]byte, 64)
	copy(dos, "MZ")
	dos[60] = byte(len(dos)) // where the PE header is
	b.Write(dos)
	b.WriteString("PE\x00\x00")
	o := pe.OptionalHeader64{
		Magic: 0x20b, SizeOfInitializedData: sector, ImageBase: 0x180000000, SectionAlignment: page, FileAlignment: sector,
		MajorOperatingSystemVersion: 6, MajorSubsystemVersion: 6, SizeOfImage: 2 * page, SizeOfHeaders: sector,
		Subsystem: pe.IMAGE_SUBSYSTEM_WINDOWS_CUI, DllCharacteristics: pe.IMAGE_DLLCHARACTERISTICS_NX_COMPAT, NumberOfRvaAndSizes: 16,
	}
	o.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_EXPORT] = pe.DataDirectory{VirtualAddress: page, Size: size}
	put(pe.FileHeader{
		Machine: pe.IMAGE_FILE_MACHINE_AMD64, NumberOfSections: 1, SizeOfOptionalHeader: uint16(binary.Size(o)),
		Characteristics: pe.IMAGE_FILE_EXECUTABLE_IMAGE | pe.IMAGE_FILE_LARGE_ADDRESS_AWARE | pe.IMAGE_FILE_DLL,
	})
	put(o)
	put(pe.SectionHeader32{
		Name: [8]uint8{'.', 'r', 'd', 'a', 't', 'a'}, VirtualSize: size, VirtualAddress: page, SizeOfRawData: sector, PointerToRawData: sector,
		Characteristics: pe.IMAGE_SCN_CNT_INITIALIZED_DATA | pe.IMAGE_SCN_MEM_READ,
	})
	image := make([]byte, 2*sector)
	copy(image, b.Bytes())
	copy(image[sector:], exports)
	return image
}
