package e2e

import (
	"github.com/huker/huker/test/site"
	"os"
	"testing"
	"time"
)

// What holds on one machine holds on a fleet of three hosts with RabbitMQ, ZooKeeper and MySQL, and with each part a process of its own.
func TestOnAFleet(t *testing.T) {
	if os.Getenv("HUKER_E2E_FLEET") != "1" {
		t.Skip("SKIPPED, NOT TESTED: a fleet (make test-fleet)")
	}
	onSite = site.New(t, 2*time.Hour, 0)
	defer func() { onSite = nil }()
	for name, test := range map[string]func(*testing.T){
		"LifeOfADatabase": TestLifeOfADatabase, "ControlPlaneDiesDatabasesGoOn": TestControlPlaneDiesDatabasesGoOn,
		"DatabasesComeBack": TestDatabasesComeBack, "KilledInsideADatabase": TestKilledInsideADatabase,
		"KilledAtEveryPoint": TestKilledAtEveryPoint, "TwentyAtOnce": TestTwentyAtOnce, "SecretsStaySecret": TestSecretsStaySecret,
		"TroubleIsTold": TestTroubleIsTold, "NewerAgentTakesOver": TestNewerAgentTakesOver,
		"HostsOfAFleet": hostsOfAFleet, "EndpointsOfAFleet": endpointsOfAFleet, "LifeOfACluster": TestLifeOfACluster, "StormOfKills": stormOfKills, "LeaderWakesUpLate": leaderWakesUpLate, "EnginesAway": enginesAway,
	} {
		t.Run(name, test)
	}
}
