// Package serve answers the HTTP requests that reach virtual containers, by the model of their Program: so late, so often
// with an error, with so much CPU, no more at once than they can work on. What they answer tells who answered: the headers
// X-Pod and X-Revision. Servers also know what CPU their containers used for it, and close their connections when they end.
package serve
