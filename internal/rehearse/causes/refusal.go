package causes

import (
	"regexp"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// refusing is how long after its last sign a refusal is taken to go on: controllers that are refused try again after
// pauses that double up to 1,000 s.
const refusing = 20 * time.Minute

// retries are the kinds of entry that repeat as long as their reason lasts, with the longest pause between two: a refused
// pod (above), the kubelet's five minutes between pulls, and the half hour after which a repeated event is written again.
var retries = map[string]time.Duration{record.KindRefused: refusing, record.KindImage: 10 * time.Minute, record.KindPodPending: 35 * time.Minute}

// quotaMessage is what the API server answers when a quota has no room, with the quota's name and its limits.
var quotaMessage = regexp.MustCompile(`exceeded quota: ([^,\s]+), requested: .*, limited: (\S+)`)

// refusal names the quota behind a refused write and what it allows; "" when no quota is.
func refusal(e record.Entry) (quota, limit string) {
	if e.Kind != record.KindRefused {
		return "", ""
	}
	if m := quotaMessage.FindStringSubmatch(e.Why); m != nil {
		return m[1], m[2]
	}
	return "", ""
}

// nameQuota says in the entry itself which quota it is that refuses, and whose pods.
func nameQuota(e record.Entry) record.Entry {
	quota, limit := refusal(e)
	if quota == "" || e.Owner == "" {
		return e
	}
	_, workload, _ := strings.Cut(e.Owner, "/")
	e.What = "quota " + quota + " refuses pods of " + workload + " (" + limit + " is used up)"
	return e
}
