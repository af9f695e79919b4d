package fleet_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/huker/huker/test/fleet"
)

// The test's program can be other things too, when it is told so.
const (
	asVariable      = "FLEET_TEST_AS"
	addressVariable = "FLEET_TEST_ADDRESS"
	asHolder        = "holder" // listens, says hello to whom connects, and keeps the connection
	asOwner         = "owner"  // makes a fleet, says its name, and waits
	asKeeper        = "keeper" // makes one that is kept, says its name, and ends
)

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(asVariable) {
	case asHolder:
		err = holdConnections(os.Getenv(addressVariable))
	case asOwner, asKeeper:
		err = makeFleet(os.Getenv(asVariable) == asKeeper)
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func holdConnections(address string) error {
	l, err := net.Listen("tcp4", address)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.WriteString(c, "hello\n")
			_, _ = io.Copy(io.Discard, c)
		}()
	}
}

func makeFleet(keep bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	f, err := fleet.New(ctx, fleet.Options{Hosts: 2, Keep: keep})
	if err != nil {
		return err
	}
	fmt.Println(f.Name)
	if keep {
		return f.Release()
	}
	select {} // until it is killed
}
