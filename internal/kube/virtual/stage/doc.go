// Package stage runs KWOK Stage objects (kwok.x-k8s.io/v1alpha1, kind Stage, KWOK v0.8) for the engine: it says which
// stage an object moves through next, when, and what that writes.
//
// Selecting, delays and templates are KWOK's own packages; the random choices are ours, drawn from the seed and the
// object alone, so that runs repeat. The package decides and renders; writing is the engine's.
package stage
