package mycnf

import (
	"strconv"

	"github.com/huker/huker/guest/paths"
)

func locks() []option {
	return []option{
		{"super_read_only", "ON", "An old primary that comes back must not take writes (openark/orchestrator #482): the agent opens a server once it knows its role."},
		{"offline_mode", "ON", "Nor serve stale reads. It also keeps clients out while accounts are being made."},
		{"skip_replica_start", "ON", "Nor follow a source from before: that source may be deposed."},
		{"persisted_globals_load", "OFF", "mysqld-auto.cnf would override this file, the three locks above included, with whatever somebody once SET PERSIST."},
	}
}

func places(in Input) []option {
	p := in.Paths
	o := []option{
		{"datadir", p.Data(), ""},
		{"tmpdir", p.Tmp(), "On the volume: memory (/tmp) would count against the container's limit. The supervisor empties it before each start."},
		{"socket", p.MysqldSocket(), "In memory that only this container sees, 0700. The compiled-in places are on the read-only root."},
		{"pid_file", p.MysqldPid(), ""},
		{"log_error", p.ErrorLog(), "A file, so that the agent can read it; the supervisor bounds it."},
		{"slow_query_log_file", p.SlowLog(), ""},
		{"general_log_file", p.GeneralLog(), ""},
		{"log_output", "FILE", "Tables for logs are CSV: not crash-safe, and not writable under super_read_only."},
		{"secure_file_priv", "NULL", "No SELECT INTO OUTFILE and no LOAD DATA from the server's files. The compiled-in default is a directory that the image lacks, without which mysqld refuses to start."},
	}
	if in.PluginDir != "" {
		o = append(o, option{"plugin_dir", in.PluginDir, ""})
	}
	for _, p := range plugins {
		if in.has(p.library) {
			o = append(o, option{"plugin_load_add", p.load, ""})
		}
	}
	return o
}

func clients(in Input, s sizes) []option {
	o := []option{
		{"port", "3306", ""},
		{"loose_mysqlx", "OFF", "A second protocol, port, socket and two threads that nobody asked for. Loose: some builds lack it."},
		{"local_infile", "OFF", "A server could read files of its clients."},
		{"skip_name_resolve", "ON", "A slow or absent DNS must not delay a login; names do not hold in a container anyway."},
		{"max_connections", strconv.Itoa(s.connections), "By memory."},
		{"partial_revokes", "ON", "An account with rights on everything is still kept out of the schema mysql."},
		{"log_bin_trust_function_creators", "ON", "Users may make functions and triggers without SUPER; row format makes it safe."},
		{"default_time_zone", "'+00:00'", "The same on every host; and SYSTEM takes a lock in the C library for each conversion."},
		{"auto_generate_certs", "OFF", "Making an RSA pair takes 0.5 s of the start. Huker brings certificates of the database's own CA."},
		{"caching_sha2_password_auto_generate_rsa_keys", "OFF", "Likewise: the supervisor makes this pair beside the copying of the data directory."},
	}
	if in.TLS {
		o = append(o,
			option{"ssl_ca", in.Paths.Secret(paths.FileCA), ""},
			option{"ssl_cert", in.Paths.Secret(paths.FileServerCert), ""},
			option{"ssl_key", in.Paths.Secret(paths.FileServerKey), ""})
	}
	return o
}

func durability(in Input) []option {
	return []option{
		{"sync_binlog", "1", ""},
		{"innodb_flush_log_at_trx_commit", "1", ""},
		{"innodb_flush_method", "O_DIRECT", "Else the page cache holds every page a second time, within the container's limit."},
		{"disabled_storage_engines", "'MyISAM,MERGE,FEDERATED,ARCHIVE,BLACKHOLE'", "They lose writes in a crash, and neither CLONE nor a consistent snapshot takes them."},
		{"log_bin", "binlog", "A name of its own: the default has the host name in it, which changes."},
		{"max_binlog_size", mb(binlogMB(in.VolumeGB)), "By volume: purging goes by whole files."},
		{"binlog_transaction_compression", "ON", "A transaction is two events instead of five or more, and sync_relay_log has a replica flush after each event: 1.4 to 1.6 times the commits of a cluster under strict."},
		{"binlog_transaction_compression_level_zstd", "1", "It is the number of events that counts: more effort costs each commit time, for bytes."},
		{"binlog_expire_logs_seconds", "259200", "Three days, for a replica to come back; 30 by default, which fills small volumes. A later replica is made by CLONE."},
	}
}

func replication(in Input, s sizes) []option {
	o := []option{
		{"server_id", strconv.FormatUint(uint64(in.ServerID), 10), ""},
		{"gtid_mode", "ON", ""},
		{"enforce_gtid_consistency", "ON", ""},
		{"log_replica_updates", "ON", "Every member can become the primary."},
		{"relay_log", "relay", "As with log_bin: without the host name."},
		{"relay_log_recovery", "OFF", "ON throws away relay logs at a restart, with transactions in them that this member has acknowledged and nobody else may have: 500 lost (vitess doc/failover-audit)."},
		{"sync_relay_log", "1", "An acknowledgement means that the transaction is on this disk; the default counts 10000 events first."},
		{"replica_net_timeout", "4", "A dead source is noticed in seconds, not in a minute: the heartbeat is half of it."},
		{"replica_preserve_commit_order", "ON", "Else a replica shows states that never were, and its GTIDs have gaps."},
		{"replica_parallel_workers", strconv.Itoa(s.applyWorkers), "Two per core: appliers wait for the disk most of the time."},
		{"replication_sender_observe_commit_only", "OFF", "With ON the source leaves a header off some semi-synchronous packets, and receivers stop (cybozu-go/moco #325)."},
	}
	if in.has("semisync_source") {
		o = append(o,
			option{"rpl_semi_sync_source_enabled", "OFF", "The agent switches it on before it opens a primary, with the count of acknowledgements of the newest record. A server alone would wait for ever."},
			option{"rpl_semi_sync_source_wait_point", "AFTER_SYNC", "Nobody sees a transaction that a failover could still lose."},
			option{"rpl_semi_sync_source_timeout", "4294967295", "The most there is, 49 days: after it MySQL goes on without acknowledgements, silently. 10 s by default."},
			option{"rpl_semi_sync_source_wait_no_replica", "ON", "Losing replicas must not be the way out of waiting for them."})
	}
	if in.has("semisync_replica") {
		o = append(o, option{"rpl_semi_sync_replica_enabled", "OFF", "Only published members may acknowledge: the agent switches it on."})
	}
	return o
}

func memory(s sizes) []option {
	return []option{
		{"innodb_buffer_pool_size", mb(s.poolMB), "What is left of the container's memory with every other limit reached, so that the kernel need not kill mysqld."},
		{"innodb_buffer_pool_instances", strconv.Itoa(s.instances), ""},
		{"innodb_buffer_pool_chunk_size", mb(s.chunkMB), "The pool is rounded UP to a multiple of chunk * instances: with the default of 128M a small server would get more than it has."},
		{"innodb_log_buffer_size", mb(s.logBufferMB), "All of it is touched at the start; 64M by default."},
		{"key_buffer_size", "64K", "For MyISAM, which is off; 8M, all touched, by default."},
		{"temptable_max_ram", mb(s.tempTableMB), "For all sessions together, besides the first megabyte of each; then temporary tables go to disk. 1G or more by default."},
		{"tmp_table_size", mb(s.tmpTableMB), ""},
		{"table_open_cache", strconv.Itoa(s.tables), "The performance schema sizes itself by these two and by max_connections."},
		{"table_definition_cache", strconv.Itoa(s.tables), ""},
	}
}

func disk(in Input, s sizes) []option {
	native := "OFF"
	if in.NativeAIO {
		native = "ON"
	}
	return []option{
		{"innodb_redo_log_capacity", mb(redoMB(s.memMB, in.VolumeGB)), ""},
		{"innodb_use_native_aio", native, "Each server with it takes more than 2000 of the host's 65536 events (fs.aio-max-nr); the 29th would not start. Threads do as well for a small one."},
		{"innodb_undo_log_truncate", "OFF", "It fails under super_read_only (MySQL bug 104573), and every server boots so."},
	}
}

func machine(s sizes, v version) []option {
	o := []option{
		{"innodb_read_io_threads", strconv.Itoa(s.ioThreads), "By default as many as the host has cores for, not the container."},
		{"innodb_write_io_threads", strconv.Itoa(s.ioThreads), ""},
		{"loose_innodb_numa_interleave", "OFF", "Docker's seccomp profile refuses it: a row of warnings at each start. Loose: some builds lack it."},
	}
	if v.atLeast(9, 7) {
		o = append(o, option{"container_aware", "ON", "mysqld sees the container's CPUs and memory instead of the host's where it still chooses by itself."})
	}
	return o
}

func performanceSchema(s sizes) []option {
	o := []option{
		{"performance_schema_max_thread_instances", strconv.Itoa(s.maxThreads), "Its memory is touched at the start, a third of the start's time: 240 MB by default. Nothing is lost by these."},
		{"performance_schema_accounts_size", "64", ""},
		{"performance_schema_users_size", "64", ""},
		{"performance_schema_hosts_size", "64", ""},
		{"performance_schema_digests_size", strconv.Itoa(s.digests), ""},
	}
	for _, kind := range []string{"statements", "waits", "stages", "transactions"} {
		o = append(o, option{"performance_schema_events_" + kind + "_history_long_size", strconv.Itoa(s.historyLong), ""})
	}
	if s.smallSchema {
		o = append(o, option{"performance_schema_error_size", "0", "Counts of errors per thread, account, user and host take 40 MB: too dear here."})
	}
	return o
}
