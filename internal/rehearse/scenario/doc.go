// Package scenario reads what a team wants rehearsed and says when each step of it is due.
//
// In comes a scenario file (Load, or Parse for one file's text), with the files it names; out comes one
// v1alpha1.Scenario with every default filled in, or every mistake at once, each with file, line, column, what is
// allowed and the nearest spelling. Check holds a scenario against the objects it is played on. Due is the pure engine
// that turns steps and what is observed into actions to take now and the next instant to look again.
package scenario

//go:generate go run ./refgen ../../../docs/scenario.md
