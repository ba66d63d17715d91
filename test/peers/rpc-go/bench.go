package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	wpb "google.golang.org/protobuf/types/known/wrapperspb"
)

func bench(kind, path string) error {
	var p peer
	if kind == "ttrpc" {
		c, err := dialTtrpc(path)
		if err != nil {
			return err
		}
		p = ttrpcPeer{c}
	} else {
		c, err := dialGrpc(path)
		if err != nil {
			return err
		}
		p = grpcPeer{c}
	}
	ctx := context.Background()
	if n, _ := strconv.Atoi(os.Getenv("READ_GIB")); n > 0 {
		start := time.Now()
		got, err := readAll(ctx, p, int64(n)<<30, 0)
		fmt.Printf("read %d GiB: %.0f MB/s\n", n, float64(got)/1e6/time.Since(start).Seconds())
		return err
	}
	for _, parallel := range []int{1, 32} {
		rps, err := unaryRate(ctx, p, parallel, 3*time.Second)
		if err != nil {
			return err
		}
		fmt.Printf("unary @%d: %.0f rps\n", parallel, rps)
	}
	start := time.Now()
	n, err := readAll(ctx, p, 1<<30, 0)
	if err != nil {
		return err
	}
	fmt.Printf("read 1 GiB: %.0f MB/s\n", float64(n)/1e6/time.Since(start).Seconds())
	start = time.Now()
	m, err := pingPong(ctx, p, 512<<20)
	if err != nil {
		return err
	}
	fmt.Printf("ping-pong 512 MiB: %.0f MB/s\n", float64(m)/1e6/time.Since(start).Seconds())
	start = time.Now()
	s, err := p.open(ctx, "Write", true, false, nil)
	if err != nil {
		return err
	}
	for range 1024 {
		if err := s.SendMsg(wpb.Bytes(chunk)); err != nil {
			return err
		}
	}
	var out wpb.Int64Value
	if err := closeAndRecv(s, &out); err != nil {
		return err
	}
	fmt.Printf("write 1 GiB: %.0f MB/s\n", float64(out.Value)/1e6/time.Since(start).Seconds())
	return nil
}

func unaryRate(ctx context.Context, p peer, parallel int, span time.Duration) (float64, error) {
	var count atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, parallel)
	start := time.Now()
	for range parallel {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for time.Since(start) < span {
				if err := p.call(ctx, "Echo", wpb.Bytes(chunk[:100]), &wpb.BytesValue{}); err != nil {
					errs <- err
					return
				}
				count.Add(1)
			}
		}()
	}
	wg.Wait()
	select {
	case err := <-errs:
		return 0, err
	default:
		return float64(count.Load()) / time.Since(start).Seconds(), nil
	}
}
