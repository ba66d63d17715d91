package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"sync"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	wpb "google.golang.org/protobuf/types/known/wrapperspb"
)

// peer hides the difference between the two client libraries.
type peer interface {
	call(ctx context.Context, method string, in, out proto.Message) error
	open(ctx context.Context, method string, client, server bool, first proto.Message) (clientStream, error)
	with(ctx context.Context, kv ...string) context.Context
}

type clientStream interface {
	SendMsg(m any) error
	RecvMsg(m any) error
	CloseSend() error
}

type grpcPeer struct{ c *grpc.ClientConn }

func (p grpcPeer) call(ctx context.Context, method string, in, out proto.Message) error {
	return p.c.Invoke(ctx, "/"+service+"/"+method, in, out)
}
func (p grpcPeer) open(ctx context.Context, method string, client, server bool, first proto.Message) (clientStream, error) {
	s, err := p.c.NewStream(ctx, &grpc.StreamDesc{ClientStreams: client, ServerStreams: server}, "/"+service+"/"+method)
	if err == nil && first != nil {
		if err = s.SendMsg(first); err == nil {
			err = s.CloseSend()
		}
	}
	return s, err
}
func (p grpcPeer) with(ctx context.Context, kv ...string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, kv...)
}

type ttrpcPeer struct{ c *ttrpc.Client }

func (p ttrpcPeer) call(ctx context.Context, method string, in, out proto.Message) error {
	return p.c.Call(ctx, service, method, in, out)
}
func (p ttrpcPeer) open(ctx context.Context, method string, client, server bool, first proto.Message) (clientStream, error) {
	var req any
	if first != nil {
		req = first
	}
	return p.c.NewStream(ctx, &ttrpc.StreamDesc{StreamingClient: client, StreamingServer: server}, service, method, req)
}
func (p ttrpcPeer) with(ctx context.Context, kv ...string) context.Context {
	md := ttrpc.MD{}
	for i := 0; i < len(kv); i += 2 {
		md.Append(kv[i], kv[i+1])
	}
	return ttrpc.WithMetadata(ctx, md)
}

func check(kind, path string) error {
	var p peer
	if kind == "ttrpc" {
		c, err := dialTtrpc(path)
		if err != nil {
			return err
		}
		defer c.Close()
		p = ttrpcPeer{c}
	} else {
		c, err := dialGrpc(path)
		if err != nil {
			return err
		}
		defer c.Close()
		p = grpcPeer{c}
	}
	failed := 0
	run := func(name string, f func(ctx context.Context) error) {
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		defer cancel()
		if err := f(ctx); err != nil {
			failed++
			fmt.Printf("FAIL %s: %v\n", name, err)
			return
		}
		fmt.Printf("ok %s\n", name)
	}
	max, namespaceKey, readSize := 16<<20, "containerd-namespace", int64(1<<30)
	if kind == "ttrpc" {
		max, namespaceKey = 4<<20, "containerd-namespace-ttrpc"
	}

	run("unary", func(ctx context.Context) error { return echo(ctx, p, 3000) })
	run("unary, 32 at once", func(ctx context.Context) error {
		var wg sync.WaitGroup
		errs := make(chan error, 32)
		for i := range 32 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for j := range 50 {
					if err := echo(ctx, p, i*997+j); err != nil {
						errs <- err
						return
					}
				}
			}()
		}
		wg.Wait()
		close(errs)
		return <-errs
	})
	run("largest message", func(ctx context.Context) error { return echo(ctx, p, max-200) })
	run("oversize is refused", func(ctx context.Context) error {
		err := echo(ctx, p, max+1)
		if status.Code(err) != codes.ResourceExhausted {
			return fmt.Errorf("got %v", err)
		}
		return echo(ctx, p, 10)
	})
	run("error", func(ctx context.Context) error {
		err := p.call(ctx, "Fail", wpb.String("x"), &wpb.StringValue{})
		st, _ := status.FromError(err)
		if st.Code() != codes.NotFound || st.Message() != `image "x": not found` {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
	run("error with unicode", func(ctx context.Context) error {
		err := p.call(ctx, "Fail", wpb.String("plain"), &wpb.StringValue{})
		st, _ := status.FromError(err)
		if st.Code() != codes.Unknown || st.Message() != "größer: 100 % kaputt\n" {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
	run("error with details", func(ctx context.Context) error {
		err := p.call(ctx, "Fail", wpb.String("details"), &wpb.StringValue{})
		st, _ := status.FromError(err)
		if d := st.Details(); len(d) == 1 {
			if v, ok := d[0].(*wpb.StringValue); ok && v.Value == "hi" && st.Code() == codes.FailedPrecondition {
				return nil
			}
		}
		return fmt.Errorf("got %v %v", err, st.Details())
	})
	run("unimplemented", func(ctx context.Context) error {
		err := p.call(ctx, "Missing", wpb.String("x"), &wpb.StringValue{})
		if status.Code(err) != codes.Unimplemented {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
	run("metadata", func(ctx context.Context) error {
		for name, want := range map[string]string{"namespace": "k8s.io", "lease": "l1", "x-list": "a|b"} {
			var out wpb.StringValue
			ctx := p.with(ctx, namespaceKey, "k8s.io", "containerd-lease", "l1", "x-list", "a", "x-list", "b")
			if err := p.call(ctx, "Header", wpb.String(name), &out); err != nil || out.Value != want {
				return fmt.Errorf("%s: got %q, %v", name, out.Value, err)
			}
		}
		return nil
	})
	run("deadline", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		err := p.call(ctx, "Wait", wpb.String(""), &wpb.StringValue{})
		if status.Code(err) != codes.DeadlineExceeded && !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
	run("cancel", func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		time.AfterFunc(20*time.Millisecond, cancel)
		err := p.call(ctx, "Wait", wpb.String(""), &wpb.StringValue{})
		if status.Code(err) != codes.Canceled && !errors.Is(err, context.Canceled) {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
	run("client stream", func(ctx context.Context) error {
		s, err := p.open(ctx, "Write", true, false, nil)
		if err != nil {
			return err
		}
		for range 64 {
			if err := s.SendMsg(wpb.Bytes(chunk)); err != nil {
				return err
			}
		}
		var out wpb.Int64Value
		if err := closeAndRecv(s, &out); err != nil || out.Value != 64<<20 {
			return fmt.Errorf("got %d, %v", out.Value, err)
		}
		return nil
	})
	run("bidi ping-pong of 1 MiB", func(ctx context.Context) error {
		_, err := pingPong(ctx, p, 64<<20)
		return err
	})
	run("server stream with default windows", func(ctx context.Context) error {
		n, err := readAll(ctx, p, readSize, 0)
		if err == nil && n != readSize {
			err = fmt.Errorf("got %d bytes", n)
		}
		return err
	})
	run("slow reader", func(ctx context.Context) error {
		n, err := readAll(ctx, p, 32<<20, 20*time.Millisecond)
		if err == nil && n != 32<<20 {
			err = fmt.Errorf("got %d bytes", n)
		}
		return err
	})
	run("stream cancel, then more calls", func(ctx context.Context) error {
		for range 20 {
			c, cancel := context.WithCancel(ctx)
			s, err := p.open(c, "Read", false, true, wpb.Int64(1<<30))
			if err != nil {
				cancel()
				return err
			}
			var m wpb.BytesValue
			if err := s.RecvMsg(&m); err != nil {
				cancel()
				return err
			}
			cancel()
			if kind == "ttrpc" {
				// Nothing tells a ttrpc server; the rest would only fill the connection.
				break
			}
		}
		return echo(ctx, p, 100)
	})
	if failed > 0 {
		return fmt.Errorf("%d checks failed", failed)
	}
	return nil
}

func echo(ctx context.Context, p peer, n int) error {
	in := make([]byte, n)
	for i := range in {
		in[i] = byte(i * 7)
	}
	var out wpb.BytesValue
	if err := p.call(ctx, "Echo", wpb.Bytes(in), &out); err != nil {
		return err
	}
	if !bytes.Equal(in, out.Value) {
		return fmt.Errorf("echo of %d bytes differs", n)
	}
	return nil
}

func closeAndRecv(s clientStream, out any) error {
	if err := s.CloseSend(); err != nil {
		return err
	}
	return s.RecvMsg(out)
}

func readAll(ctx context.Context, p peer, size int64, pause time.Duration) (int64, error) {
	s, err := p.open(ctx, "Read", false, true, wpb.Int64(size))
	if err != nil {
		return 0, err
	}
	var n int64
	for {
		var m wpb.BytesValue
		if err := s.RecvMsg(&m); err == io.EOF {
			return n, nil
		} else if err != nil {
			return n, err
		}
		n += int64(len(m.Value))
		if pause > 0 {
			time.Sleep(time.Duration(rand.Int63n(int64(pause))))
		}
	}
}

func pingPong(ctx context.Context, p peer, size int) (int, error) {
	s, err := p.open(ctx, "Chat", true, true, nil)
	if err != nil {
		return 0, err
	}
	n := 0
	for n < size {
		if err := s.SendMsg(wpb.Bytes(chunk)); err != nil {
			return n, err
		}
		var m wpb.BytesValue
		if err := s.RecvMsg(&m); err != nil {
			return n, err
		}
		if !bytes.Equal(m.Value, chunk) {
			return n, errors.New("echo differs")
		}
		n += len(m.Value)
	}
	if err := s.CloseSend(); err != nil {
		return n, err
	}
	if err := s.RecvMsg(&wpb.BytesValue{}); err != io.EOF {
		return n, fmt.Errorf("end: got %v", err)
	}
	return n, nil
}
