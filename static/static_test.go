package static

import (
	"errors"
	"io/fs"
	"os"
	"testing"
)

// What is embedded is what lies in dist, whether it was built or not.
func TestFiles(t *testing.T) {
	_, err := os.Stat("dist/app.html")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if built := err == nil; Built() != built {
		t.Errorf("Built says %t", !built)
	}
	err = fs.WalkDir(os.DirFS("dist"), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		want, err := os.ReadFile("dist/" + path)
		if err != nil {
			return err
		}
		if got, err := fs.ReadFile(Files(), path); err != nil || string(got) != string(want) {
			t.Errorf("%s: %v, %d of %d bytes", path, err, len(got), len(want))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
