#!/bin/sh
# metadata mysqld [OPTIONS]: starts mysqld on /var/lib/mysql. Each time it sees to the database and its user, by variables that MySQL's official
# image takes too.
set -eu
[ "$1" = mysqld ] || exec "$@"
shift
data=/var/lib/mysql/data
if [ ! -d "$data" ]; then
	rm -rf "$data.new"
	cp -a /usr/share/huker/template "$data.new"
	mv "$data.new" "$data"
fi
init=/tmp/init.sql # in memory
umask 077
password=$(cat "$MYSQL_PASSWORD_FILE")
root=$(cat "$MYSQL_ROOT_PASSWORD_FILE")
cat >"$init" <<SQL
ALTER USER IF EXISTS root@localhost IDENTIFIED BY '$root';
CREATE DATABASE IF NOT EXISTS \`$MYSQL_DATABASE\`;
CREATE USER IF NOT EXISTS '$MYSQL_USER'@'%' REQUIRE SSL;
ALTER USER '$MYSQL_USER'@'%' IDENTIFIED BY '$password' REQUIRE SSL;
GRANT ALL ON \`$MYSQL_DATABASE\`.* TO '$MYSQL_USER'@'%';
SQL
exec mysqld --no-defaults --datadir="$data" --init-file="$init" --socket=/tmp/mysqld.sock --pid-file=/tmp/mysqld.pid --mysqlx=OFF \
	--secure-file-priv=NULL "$@"
