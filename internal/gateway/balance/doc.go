// Package balance decides where a request goes among what a rule names: which share (Split), which endpoint (Pool), whether
// once more (Retry, Budget), which endpoint gets none for now (Outlier), how much at once (Breaker), and whom a client
// belongs to (Sealer). It opens no connection and reads no clock: each call is told what time it is and what was drawn, so
// that the data path and a rehearsal decide alike.
//
// Times are nanoseconds of any clock that does not go back.
package balance
