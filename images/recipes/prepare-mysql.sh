# Makes an image of whatever has mysqld in it into one that Huker's guests can be made from: the user, the folders, the template
# data directory; and reads from the running server what it is and which parameters it has.
share=/usr/share/huker
template=$share/template

step "making user mysql ($HUKER_UID:$HUKER_GID) and folders"
# Not groupadd and useradd: a stock image need not have them.
for line in "passwd mysql:x:$HUKER_UID:$HUKER_GID:MySQL:/nonexistent:/bin/false" "group mysql:x:$HUKER_GID:"; do
	file=/etc/${line%% *}
	{
		grep -v '^mysql:' "$file" || true
		echo "${line#* }"
	} >"$build/accounts"
	cat "$build/accounts" >"$file"
done
mkdir -p "$share" /var/lib/mysql /huker/bin /huker/etc /huker/run
chown "$HUKER_UID:$HUKER_GID" /var/lib/mysql /huker/run
chmod 0700 /var/lib/mysql

step "making the template data directory"
# The smallest redo log: mysqld resizes it in the background when it starts.
quiet="--no-defaults --user=mysql --datadir=$template --secure-file-priv=NULL"
# shellcheck disable=SC2086
mysqld $quiet --initialize-insecure --disable-log-bin --log-error-verbosity=1 --innodb-redo-log-capacity=8388608 \
	--auto-generate-certs=OFF --caching-sha2-password-auto-generate-rsa-keys=OFF

step "starting the server"
# With as few options as can be: what is set here has no default in the catalogue.
log=$build/mysqld.log
mkdir -p "$build/server"
chown "$HUKER_UID:$HUKER_GID" "$build/server"
sock=$build/server/sock
# shellcheck disable=SC2086
mysqld $quiet --skip-networking --mysqlx=OFF --socket="$sock" --pid-file="$build/server/pid" \
	--plugin-load-add="$HUKER_LIBRARIES" >"$log" 2>&1 &
server=$!
sql() { mysql --no-defaults -uroot --protocol=SOCKET --socket="$sock" -N -r --default-character-set=utf8mb4 "$@"; }
tries=0
until sql -e 'DO 1' 2>/dev/null; do
	tries=$((tries + 1))
	kill -0 $server 2>/dev/null || { cat "$log" >&2 && fail "the server ended while it started"; }
	[ $tries -lt 600 ] || { cat "$log" >&2 && fail "the server did not start within 120 s"; }
	sleep 0.2
done

if [ -d /usr/share/zoneinfo ] && command -v mysql_tzinfo_to_sql >/dev/null; then
	step "filling the time zone tables"
	{
		echo 'SET sql_log_bin=0;'
		mysql_tzinfo_to_sql /usr/share/zoneinfo 2>/dev/null
	} | sql mysql
fi

sql -e 'SELECT COUNT(*) FROM mysql.time_zone_name' >"$out/zones"

step "reading the catalogue of parameters"
sql -e 'SELECT @@innodb_version' >"$out/version"
# Before 9.0 there is no variables_metadata: the ranges then come from variables_info, and the rest stays unknown.
metadata=$(sql -e "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema='performance_schema' AND table_name='variables_metadata'")
if [ "$metadata" = 1 ]; then
	from='performance_schema.variables_metadata m'
	columns="'scope',m.variable_scope,'type',m.data_type,'min',m.min_value,'max',m.max_value,'documentation',m.documentation"
else
	from='performance_schema.variables_info m'
	columns="'min',m.min_value,'max',m.max_value"
fi
sql -e "SELECT JSON_OBJECT('name',m.variable_name,$columns,
	'global',g.variable_value,'session',s.variable_value,'source',i.variable_source)
	FROM $from
	LEFT JOIN performance_schema.variables_info i ON i.variable_name=m.variable_name
	LEFT JOIN performance_schema.global_variables g ON g.variable_name=m.variable_name
	LEFT JOIN performance_schema.session_variables s ON s.variable_name=m.variable_name
	ORDER BY m.variable_name" >"$out/variables.jsonl"

step "probing which parameters can be changed while the server runs"
sql -e "SELECT variable_name FROM performance_schema.global_variables ORDER BY variable_name" >"$out/probed"
# Setting each to what it is changes nothing. What cannot be set is answered by an error with the number of the line.
sed 's/.*/SET GLOBAL & = @@GLOBAL.&;/' "$out/probed" >"$build/probe.sql"
sql --force <"$build/probe.sql" 2>"$out/refused" >/dev/null || true

# An enumeration can be set by number, a set by bit: the server then tells the value's name, and the documentation need not be
# believed. A number that is refused leaves the value before it, which is told twice. Up and down first, for variables that go in steps only
# (gtid_mode).
if [ "$metadata" = 1 ]; then
	numbers="0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39"
	sql -e "SELECT m.variable_name, LOWER(m.data_type), IF(g.variable_name IS NULL,'SESSION','GLOBAL')
		FROM performance_schema.variables_metadata m LEFT JOIN performance_schema.global_variables g USING (variable_name)
		WHERE m.data_type IN ('Enumeration','Set') ORDER BY 1" |
		while read -r name type scope; do
			set="SET $scope $name ="
			[ "$type" = set ] || for n in 1 2 3 4 4 3 2 1 0; do echo "$set $n;"; done
			for n in $numbers; do
				[ "$type" = set ] && n="1<<$n"
				echo "$set $n; SELECT CONCAT('$name ',@@$scope.$name);"
			done
			echo "$set DEFAULT;"
		done >"$build/values.sql"
	sql --force <"$build/values.sql" 2>/dev/null >"$out/values" || true
else
	: >"$out/values"
fi
kill -0 $server 2>/dev/null || { cat "$log" >&2 && fail "the server died of the probe"; }

gtids=$(sql -e "SELECT @@GLOBAL.gtid_executed")
step "stopping the server"
sql -e 'SET GLOBAL innodb_fast_shutdown=0; SHUTDOWN' 2>/dev/null || true
wait $server || { cat "$log" >&2 && fail "the server did not shut down cleanly"; }

# What a server makes anew when it first starts: its identity, spare redo files, doublewrite and temporary files, binlogs.
cd "$template"
[ -z "$gtids" ] || fail "the template has transactions of its own: $gtids"
rm -rf auto.cnf binlog.* ./*.pem ./*.pid '#innodb_redo'/*_tmp '#ib_'*.dblwr '#innodb_temp' ibtmp1
[ -e mysql.ibd ] && [ -e ibdata1 ] || fail "the template is not a data directory"
chown -R "$HUKER_UID:$HUKER_GID" "$template"
chmod 0700 "$template"
step "template: $(du -sm "$template" | cut -f1) MB"
