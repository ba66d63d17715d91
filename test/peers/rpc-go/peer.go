// Package main is the Go side of the RPC tests: a client that runs a checklist against a server of ours, and a server
// for our client. The service is gantry.test.v1.Peer as peer-service.ts has it, built from well-known types.
package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	wpb "google.golang.org/protobuf/types/known/wrapperspb"
)

const service = "gantry.test.v1.Peer"

var chunk = bytes.Repeat([]byte{0x5a}, 1<<20)

type stream interface {
	SendMsg(m any) error
	RecvMsg(m any) error
}

func fail(in *wpb.StringValue) (*wpb.StringValue, error) {
	switch in.Value {
	case "details":
		st, err := status.New(codes.FailedPrecondition, "with details").WithDetails(wpb.String("hi"))
		if err != nil {
			return nil, err
		}
		return nil, st.Err()
	case "plain":
		return nil, errors.New("größer: 100 % kaputt\n")
	}
	return nil, status.Errorf(codes.NotFound, "image %q: not found", in.Value)
}

func read(n int64, s stream) error {
	for ; n > 0; n -= int64(len(chunk)) {
		b := chunk
		if n < int64(len(b)) {
			b = b[:n]
		}
		if err := s.SendMsg(wpb.Bytes(b)); err != nil {
			return err
		}
	}
	return nil
}

func write(s stream) (*wpb.Int64Value, error) {
	var sum int64
	for {
		var m wpb.BytesValue
		if err := s.RecvMsg(&m); err == io.EOF {
			return wpb.Int64(sum), nil
		} else if err != nil {
			return nil, err
		}
		sum += int64(len(m.Value))
	}
}

func chat(s stream) error {
	for {
		var m wpb.BytesValue
		if err := s.RecvMsg(&m); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := s.SendMsg(&m); err != nil {
			return err
		}
	}
}

func watch(ctx context.Context, name string, s stream) error {
	if err := s.SendMsg(wpb.String("watching " + name)); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func header(in *wpb.StringValue, md map[string][]string, namespaceKey string) *wpb.StringValue {
	name := in.Value
	switch name {
	case "namespace":
		name = namespaceKey
	case "lease":
		name = "containerd-lease"
	}
	return wpb.String(strings.Join(md[name], "|"))
}

func wait(ctx context.Context) (*wpb.StringValue, error) {
	<-ctx.Done()
	return nil, status.FromContextError(ctx.Err()).Err()
}

// --- gRPC

func unary[I any](name string, run func(ctx context.Context, in *I) (any, error)) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		in := new(I)
		if err := dec(in); err != nil {
			return nil, err
		}
		return run(ctx, in)
	}}
}

func streaming(name string, client, server bool, run func(s grpc.ServerStream) error) grpc.StreamDesc {
	return grpc.StreamDesc{StreamName: name, ClientStreams: client, ServerStreams: server, Handler: func(_ any, s grpc.ServerStream) error { return run(s) }}
}

func grpcService() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{ServiceName: service, HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{
		unary("Echo", func(_ context.Context, in *wpb.BytesValue) (any, error) { return in, nil }),
		unary("Fail", func(_ context.Context, in *wpb.StringValue) (any, error) { return fail(in) }),
		unary("Wait", func(ctx context.Context, _ *wpb.StringValue) (any, error) { return wait(ctx) }),
		unary("Header", func(ctx context.Context, in *wpb.StringValue) (any, error) {
			md, _ := metadata.FromIncomingContext(ctx)
			_ = grpc.SetHeader(ctx, metadata.Pairs("x-answer", "head"))
			_ = grpc.SetTrailer(ctx, metadata.Pairs("x-trailer", "tail"))
			return header(in, md, "containerd-namespace"), nil
		}),
	}, Streams: []grpc.StreamDesc{
		streaming("Read", false, true, func(s grpc.ServerStream) error {
			var in wpb.Int64Value
			if err := s.RecvMsg(&in); err != nil {
				return err
			}
			return read(in.Value, s)
		}),
		streaming("Write", true, false, func(s grpc.ServerStream) error {
			out, err := write(s)
			if err != nil {
				return err
			}
			return s.SendMsg(out)
		}),
		streaming("Chat", true, true, func(s grpc.ServerStream) error { return chat(s) }),
		streaming("Watch", false, true, func(s grpc.ServerStream) error {
			var in wpb.StringValue
			if err := s.RecvMsg(&in); err != nil {
				return err
			}
			return watch(s.Context(), in.Value, s)
		}),
	}}
}

// --- ttrpc

func ttrpcUnary[I any](run func(ctx context.Context, in *I) (any, error)) ttrpc.Method {
	return func(ctx context.Context, dec func(any) error) (any, error) {
		in := new(I)
		if err := dec(in); err != nil {
			return nil, err
		}
		return run(ctx, in)
	}
}

func ttrpcService() *ttrpc.ServiceDesc {
	return &ttrpc.ServiceDesc{Methods: map[string]ttrpc.Method{
		"Echo": ttrpcUnary(func(_ context.Context, in *wpb.BytesValue) (any, error) { return in, nil }),
		"Fail": ttrpcUnary(func(_ context.Context, in *wpb.StringValue) (any, error) { return fail(in) }),
		"Wait": ttrpcUnary(func(ctx context.Context, _ *wpb.StringValue) (any, error) { return wait(ctx) }),
		"Header": ttrpcUnary(func(ctx context.Context, in *wpb.StringValue) (any, error) {
			md, _ := ttrpc.GetMetadata(ctx)
			return header(in, md, "containerd-namespace-ttrpc"), nil
		}),
	}, Streams: map[string]ttrpc.Stream{
		"Read": {StreamingServer: true, Handler: func(ctx context.Context, s ttrpc.StreamServer) (any, error) {
			var in wpb.Int64Value
			if err := s.RecvMsg(&in); err != nil {
				return nil, err
			}
			return nil, read(in.Value, s)
		}},
		"Write": {StreamingClient: true, Handler: func(_ context.Context, s ttrpc.StreamServer) (any, error) { return write(s) }},
		"Chat":  {StreamingClient: true, StreamingServer: true, Handler: func(_ context.Context, s ttrpc.StreamServer) (any, error) { return nil, chat(s) }},
		"Watch": {StreamingServer: true, Handler: func(ctx context.Context, s ttrpc.StreamServer) (any, error) {
			var in wpb.StringValue
			if err := s.RecvMsg(&in); err != nil {
				return nil, err
			}
			return nil, watch(ctx, in.Value, s)
		}},
	}}
}
