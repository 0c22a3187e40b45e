//go:build !linux

package controlplane

func portOwner(string) string { return "" }
