// Real Kubernetes clients (client-go's remotecommand and portforward) against a streaming server.
//
//	streaming-go SCENARIO TRANSPORT URL [ARGUMENT]
//
// TRANSPORT is spdy, websocket or fallback. Exit code 0: the scenario went as it must; otherwise the reason is on stderr.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/httpstream"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
)

const big = 64 << 20

func main() {
	scenarios := map[string]func(transport string, u *url.URL, argument string) error{
		"echo": echo, "exit": exit, "resize": resize, "out": out, "in": in, "missing": missing,
		"attach": attach, "forward": forward, "unread": unread, "reuse": reuse,
	}
	u, err := url.Parse(os.Args[3])
	check(err)
	argument := ""
	if len(os.Args) > 4 {
		argument = os.Args[4]
	}
	check(scenarios[os.Args[1]](os.Args[2], u, argument))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func config() *rest.Config {
	return &rest.Config{TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
}

func executor(transport string, u *url.URL) (remotecommand.Executor, error) {
	ws, err := remotecommand.NewWebSocketExecutor(config(), "GET", u.String())
	if err != nil || transport == "websocket" {
		return ws, err
	}
	s, err := remotecommand.NewSPDYExecutor(config(), "POST", u)
	if err != nil || transport == "spdy" {
		return s, err
	}
	return remotecommand.NewFallbackExecutor(ws, s, httpstream.IsUpgradeFailure)
}

func stream(transport string, u *url.URL, options remotecommand.StreamOptions) error {
	e, err := executor(transport, u)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	return e.StreamWithContext(ctx, options)
}

func echo(transport string, u *url.URL, _ string) error {
	var stdout bytes.Buffer
	in := strings.NewReader("hello\nwörld\n")
	if err := stream(transport, u, remotecommand.StreamOptions{Stdin: in, Stdout: &stdout}); err != nil {
		return err
	}
	return same("stdout", stdout.String(), "hello\nwörld\n")
}

func exit(transport string, u *url.URL, _ string) error {
	var stdout, stderr bytes.Buffer
	err := stream(transport, u, remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr})
	var code exec.CodeExitError
	if !errors.As(err, &code) || code.Code != 42 {
		return fmt.Errorf("exit code 42 wanted, got %#v", err)
	}
	return errors.Join(same("stdout", stdout.String(), "out\n"), same("stderr", stderr.String(), "err\n"))
}

type sizes chan *remotecommand.TerminalSize

func (s sizes) Next() *remotecommand.TerminalSize { return <-s }

func resize(transport string, u *url.URL, _ string) error {
	queue := make(sizes, 2)
	queue <- &remotecommand.TerminalSize{Width: 132, Height: 43}
	var stdout bytes.Buffer
	hold, release := io.Pipe()
	defer release.Close()
	err := stream(transport, u, remotecommand.StreamOptions{Stdin: hold, Stdout: &stdout, Tty: true, TerminalSizeQueue: queue})
	return errors.Join(err, same("stdout", stdout.String(), "132x43\n"))
}

func out(transport string, u *url.URL, _ string) error {
	hash := sha256.New()
	n := &counter{}
	var stderr bytes.Buffer
	err := stream(transport, u, remotecommand.StreamOptions{Stdout: io.MultiWriter(hash, n), Stderr: &stderr})
	if err != nil {
		return err
	}
	if n.bytes != big {
		return fmt.Errorf("%d bytes of %d", n.bytes, big)
	}
	return same("hash", fmt.Sprintf("%x  -\n", hash.Sum(nil)), stderr.String())
}

func in(transport string, u *url.URL, _ string) error {
	hash := sha256.New()
	var stdout bytes.Buffer
	from := io.TeeReader(io.LimitReader(rand.Reader, big), hash)
	if err := stream(transport, u, remotecommand.StreamOptions{Stdin: from, Stdout: &stdout}); err != nil {
		return err
	}
	return same("hash", stdout.String(), fmt.Sprintf("%x  -\n", hash.Sum(nil)))
}

// The command ends without reading what keeps coming.
func unread(transport string, u *url.URL, _ string) error {
	var stdout bytes.Buffer
	from := io.LimitReader(rand.Reader, big)
	err := stream(transport, u, remotecommand.StreamOptions{Stdin: from, Stdout: &stdout})
	return errors.Join(err, same("stdout", stdout.String(), "done\n"))
}

func missing(transport string, u *url.URL, _ string) error {
	err := stream(transport, u, remotecommand.StreamOptions{Stdout: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "error executing command in container") {
		return fmt.Errorf("an internal error wanted, got %v", err)
	}
	return nil
}

func attach(transport string, u *url.URL, _ string) error {
	var stdout bytes.Buffer
	in := strings.NewReader("attached")
	if err := stream(transport, u, remotecommand.StreamOptions{Stdin: in, Stdout: &stdout}); err != nil {
		return err
	}
	return same("stdout", stdout.String(), "ATTACHED")
}

// A URL serves once.
func reuse(transport string, u *url.URL, _ string) error {
	if err := stream(transport, u, remotecommand.StreamOptions{Stdout: io.Discard}); err != nil {
		return err
	}
	if err := stream(transport, u, remotecommand.StreamOptions{Stdout: io.Discard}); err == nil {
		return errors.New("the second use went well")
	}
	return nil
}

// ARGUMENT is the port of an HTTP server that answers its request's path; port 1 refuses.
func forward(transport string, u *url.URL, port string) error {
	var dialer httpstream.Dialer
	var err error
	if transport == "spdy" {
		round, upgrader, e := spdy.RoundTripperFor(config())
		check(e)
		dialer = spdy.NewDialer(upgrader, &http.Client{Transport: round}, "POST", u)
	} else {
		dialer, err = portforward.NewSPDYOverWebsocketDialer(u, config())
		check(err)
	}
	stop, ready := make(chan struct{}), make(chan struct{})
	var stderr lockedBuffer
	utilruntime.ErrorHandlers = []utilruntime.ErrorHandler{func(_ context.Context, err error, _ string, _ ...any) {
		fmt.Fprintln(&stderr, err)
	}}
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{":" + port, ":1"}, stop, ready, io.Discard, &stderr)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- forwarder.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-ended:
		return fmt.Errorf("forward: %w", err)
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	var all sync.WaitGroup
	failed := make(chan error, 16)
	for i := range 16 {
		all.Go(func() {
			path := fmt.Sprintf("/%d/%s", i, strings.Repeat("x", 1000*i))
			answer, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d%s", ports[0].Local, path))
			if err != nil {
				failed <- err
				return
			}
			defer answer.Body.Close()
			body, err := io.ReadAll(answer.Body)
			if err != nil || string(body) != strings.Repeat(path, 100) {
				failed <- fmt.Errorf("request %d: %d bytes, %v", i, len(body), err)
			}
		})
	}
	all.Wait()
	close(failed)
	if err := <-failed; err != nil {
		return err
	}
	if _, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/", ports[1].Local)); err == nil {
		return errors.New("port 1 answered")
	}
	for end := time.Now().Add(10 * time.Second); !strings.Contains(stderr.String(), "error forwarding port 1 to pod"); {
		if time.Now().After(end) {
			return fmt.Errorf("no error for port 1: %q", stderr.String())
		}
		time.Sleep(10 * time.Millisecond)
	}
	close(stop)
	return nil
}

type counter struct{ bytes int }

func (c *counter) Write(p []byte) (int, error) {
	c.bytes += len(p)
	return len(p), nil
}

type lockedBuffer struct {
	sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.String()
}

func same(what, got, want string) error {
	if got != want {
		return fmt.Errorf("%s: %q, wanted %q", what, got, want)
	}
	return nil
}
