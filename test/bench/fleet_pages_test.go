package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/huker/huker/internal/testenv"
)

// pagesVariable makes this program a client that asks for pages, as its standard input says, instead of a benchmark.
const pagesVariable = "HUKER_BENCH_ASK_FOR_PAGES"

func TestMain(m *testing.M) {
	if os.Getenv(pagesVariable) != "" {
		if err := answerPages(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// pagesOrder is what such a client is to do.
type pagesOrder struct {
	URLs   []string      // of pages
	WarmUp int           // so many of them first, which do not count
	Every  time.Duration // from one request to the next; 0: as soon as the last one is answered
	Token  string
}

// pages asks for pages from anywhere in the list, one after the other or so often, and gives the median and 99 % of the times. They are asked for by a process of
// its own: this one is 200 hosts at the same time, whose work would be in each answer's time.
func (s *simulated) pages(n int, every time.Duration) (p50, p99 time.Duration) {
	b := s.b
	b.Helper()
	order := pagesOrder{WarmUp: 20, Every: every, Token: s.token}
	for range n + order.WarmUp {
		marker := s.ids[pageSize+rand.IntN(len(s.ids)-pageSize)]
		order.URLs = append(order.URLs, fmt.Sprintf("http://%s/v1.0/%s/instances?limit=%d&marker=%s", s.listen, s.project, pageSize, marker))
	}
	text, err := json.Marshal(order)
	require.NoError(b, err)
	program, err := os.Executable()
	require.NoError(b, err)
	var out, trouble bytes.Buffer
	client := exec.Command("nice", "-n", fmt.Sprint(-hostsNice), program) // with the priority that everybody else has
	client.Env, client.Stdin, client.Stdout, client.Stderr = append(os.Environ(), pagesVariable+"=1"), bytes.NewReader(text), &out, &trouble
	require.NoError(b, testenv.StartChild(client))
	require.NoError(b, client.Wait(), "%s", &trouble)
	var times []time.Duration
	require.NoError(b, json.Unmarshal(out.Bytes(), &times))
	require.Len(b, times, n)
	slices.Sort(times)
	return times[n/2], times[n*99/100]
}

// hostsNice is how nice the hosts are while pages are asked for.
const hostsNice = 10

// step has this process, which is all hosts, step back behind the control plane and its engines, or not any more: hosts have machines of their own.
func (s *simulated) step(nice int) {
	b := s.b
	b.Helper()
	threads, err := os.ReadDir("/proc/self/task")
	require.NoError(b, err)
	for _, thread := range threads { // those that come later take after them
		id, err := strconv.Atoi(thread.Name())
		require.NoError(b, err)
		if err := unix.Setpriority(unix.PRIO_PROCESS, id, nice); err != nil {
			require.ErrorIs(b, err, unix.ESRCH) // it went
		}
	}
}

func answerPages(in io.Reader, out io.Writer) error {
	var order pagesOrder
	if err := json.NewDecoder(in).Decode(&order); err != nil {
		return err
	}
	var times []time.Duration
	due := time.Now()
	for k, url := range order.URLs {
		time.Sleep(time.Until(due)) // at once where the last answer was late
		due = due.Add(order.Every)
		r, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		r.Header.Set("X-Auth-Token", order.Token)
		began := time.Now()
		a, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(a.Body)
		took := time.Since(began)
		_ = a.Body.Close()
		if err != nil {
			return err
		}
		if n := bytes.Count(body, []byte(`"datastore"`)); a.StatusCode != http.StatusOK || n != pageSize {
			return fmt.Errorf("%s: status %d, with %d instances: %s", url, a.StatusCode, n, body)
		}
		if k >= order.WarmUp {
			times = append(times, took)
		}
	}
	return json.NewEncoder(out).Encode(times)
}
