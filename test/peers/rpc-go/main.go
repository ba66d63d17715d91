package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// usage: rpc-go serve|check|bench grpc|ttrpc SOCKET
func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: rpc-go serve|check|bench grpc|ttrpc SOCKET")
		os.Exit(2)
	}
	var err error
	switch os.Args[1] {
	case "serve":
		err = serve(os.Args[2], os.Args[3])
	case "check":
		err = check(os.Args[2], os.Args[3])
	case "bench":
		err = bench(os.Args[2], os.Args[3])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(kind, path string) error {
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	if kind == "ttrpc" {
		s, err := ttrpc.NewServer()
		if err != nil {
			return err
		}
		s.RegisterService(service, ttrpcService())
		fmt.Println("ready")
		go func() { <-stop; s.Close() }()
		if err := s.Serve(context.Background(), l); err != ttrpc.ErrServerClosed {
			return err
		}
		return nil
	}
	s := grpc.NewServer(grpc.MaxRecvMsgSize(16<<20), grpc.MaxSendMsgSize(16<<20))
	s.RegisterService(grpcService(), nil)
	fmt.Println("ready")
	// Stops gracefully: GOAWAY, running calls end first.
	go func() { <-stop; s.GracefulStop() }()
	return s.Serve(l)
}

func dialGrpc(path string) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20), grpc.MaxCallSendMsgSize(64<<20)))
}

func dialTtrpc(path string) (*ttrpc.Client, error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	return ttrpc.NewClient(conn), nil
}
