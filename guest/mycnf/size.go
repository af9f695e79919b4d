package mycnf

import (
	"math"
	"strconv"
)

const mib = 1 << 20

// What takes memory besides that which is sized here. Measured on 9.7.4 with the settings of this package; TestRealMemory of package
// supervisor holds them to it.
const (
	// aside is for the supervisor (10), the agent (30) and the kernel's own memory of the container: sockets, page tables, a page cache to live on.
	aside = 64
	// serverMB is mysqld after its start without what depends on sizes below: code and its heap, doublewrite buffers (54), the redo log's
	// lists (24), dictionary.
	serverMB = 145
	// perConnMB is a connection with a heavy statement under way: its first megabyte of temporary tables, which temptable_max_ram does not
	// bound, sort and join buffers, stack, network. An idle one takes a fifth. There is one thing that nothing bounds: a hash join that
	// goes to disk opens some 500 files with 28 KB each; 42 of them at once took 650 MB.
	perConnMB = 1.2
	// poolOverhead is what InnoDB takes besides a page of the buffer pool: control blocks, hashes, locks.
	poolOverhead = 1.06
	// tableMB is an open table in the table cache and the definition cache.
	tableMB = 0.03
)

// MinMemoryMB is the least memory that a server is configured for.
const MinMemoryMB = 512

// sizes are all values that follow the memory and CPUs of a flavor.
type sizes struct {
	memMB         int
	poolMB        int // innodb_buffer_pool_size
	instances     int // innodb_buffer_pool_instances
	chunkMB       int // innodb_buffer_pool_chunk_size
	connections   int
	tables        int // table_open_cache and table_definition_cache
	logBufferMB   int
	tempTableMB   int // temptable_max_ram: all sessions together
	tmpTableMB    int // tmp_table_size: one table
	applyWorkers  int
	ioThreads     int
	smallSchema   bool // the performance schema's smallest form
	maxThreads    int  // performance_schema_max_thread_instances
	digests       int
	historyLong   int
	perfSchemaMB  float64 // what the performance schema then takes
	estimatedUsed float64 // MB, everything at its limit
}

// sizesFor derives all values. They grow with memory, never the other way round.
func sizesFor(memMB int, cpus float64) sizes {
	s := sizes{memMB: max(memMB, MinMemoryMB)}
	m := s.memMB
	// A connection per 12 MB: 42 with 512 MB, 341 with 4 GB. More would not be served any quicker by the CPUs that come with such memory.
	s.connections = clamp(m/12, 40, 5000)
	s.tables = clamp(m/2, 400, 4000)
	s.logBufferMB = clamp(m/128, 8, 64)
	s.tempTableMB = clamp(m/32, 16, 4096)
	s.tmpTableMB = min(16, s.tempTableMB)
	cores := int(math.Ceil(cpus))
	s.applyWorkers = clamp(2*cores, 4, 32)
	s.ioThreads = clamp(cores/2, 4, 16)
	s.performanceSchema()

	left := float64(m) - s.fixedMB()
	s.instances = 1
	for s.instances < 16 && float64(s.instances*2) <= cpus && left/float64(s.instances*2) >= 1024 {
		s.instances *= 2
	}
	// The server rounds the pool UP to a multiple of chunk * instances, so it is given one, rounded down.
	s.chunkMB = 16
	if left >= 4096 {
		s.chunkMB = 128
	}
	granule := s.chunkMB * s.instances
	s.poolMB = max(int(left/poolOverhead)/granule*granule, granule)
	s.estimatedUsed = s.fixedMB() + float64(s.poolMB)*poolOverhead
	return s
}

// performanceSchema chooses its sizes: it takes 240 MB by default, all of it touched at the start, which is a third of the start's time.
func (s *sizes) performanceSchema() {
	s.maxThreads = s.connections + 128 // background threads, appliers
	s.smallSchema = s.tables <= 512 && s.connections <= 151
	s.digests, s.historyLong = 5000, 1000
	s.perfSchemaMB = 90 + 0.1*float64(s.maxThreads)
	if s.smallSchema {
		s.digests, s.historyLong = 1000, 100
		s.perfSchemaMB = 60 + 0.1*float64(s.maxThreads)
	}
}

// fixedMB is all but the buffer pool, with every limit reached.
func (s *sizes) fixedMB() float64 {
	slack := float64(s.memMB) / 20 // the allocator's own losses, and what statements take beyond the usual
	return aside + serverMB + s.perfSchemaMB + slack + float64(s.logBufferMB) + float64(s.tempTableMB) +
		perConnMB*float64(s.connections) + tableMB*float64(s.tables)
}

// Settings are the values of Generate that follow the memory and the CPUs and can be changed with SET GLOBAL, for a resize of a running
// server. A server's buffer pool moves in steps of its own @@innodb_buffer_pool_chunk_size * @@innodb_buffer_pool_instances and is rounded up to
// them: SettingsFor takes that into account.
func Settings(memMB int, cpus float64) map[string]string { return SettingsFor(memMB, cpus, 0) }

// SettingsFor are Settings for a server whose buffer pool moves in steps of granule bytes; 0 is not known.
func SettingsFor(memMB int, cpus float64, granule int64) map[string]string {
	s := sizesFor(memMB, cpus)
	pool := int64(s.poolMB) * mib
	if granule > 0 {
		pool = max(pool/granule*granule, granule)
	}
	return map[string]string{
		"innodb_buffer_pool_size":  strconv.FormatInt(pool, 10),
		"innodb_log_buffer_size":   strconv.Itoa(s.logBufferMB * mib),
		"max_connections":          strconv.Itoa(s.connections),
		"replica_parallel_workers": strconv.Itoa(s.applyWorkers),
		"table_definition_cache":   strconv.Itoa(s.tables),
		"table_open_cache":         strconv.Itoa(s.tables),
		"temptable_max_ram":        strconv.Itoa(s.tempTableMB * mib),
		"tmp_table_size":           strconv.Itoa(s.tmpTableMB * mib),
	}
}

// redoMB is innodb_redo_log_capacity: it evens out bursts of writes, and has no effect on how long a start takes. On a small volume it
// must not be what fills it.
func redoMB(memMB, volumeGB int) int {
	c := clamp(memMB/4, 128, 16384)
	if volumeGB > 0 {
		c = min(c, volumeGB*1024/8)
	}
	return max(c, 64)
}

// binlogMB is max_binlog_size: on a small volume a single binlog must not fill it.
func binlogMB(volumeGB int) int {
	if volumeGB <= 0 {
		return 128
	}
	return clamp(volumeGB*1024/32, 32, 512)
}

func clamp(v, low, high int) int { return min(max(v, low), high) }
