#!/bin/sh
# Starts mysqld on /var/lib/mysql. The first time it makes the database and its user, from the variables that MySQL's official image takes too.
set -eu
data=/var/lib/mysql/data
if [ ! -d "$data" ]; then
	rm -rf "$data.new"
	cp -a /usr/share/huker/template "$data.new"
	mv "$data.new" "$data"
fi
init=/tmp/init.sql
umask 077
password=$(cat "$MYSQL_PASSWORD_FILE")
cat >"$init" <<SQL
CREATE DATABASE IF NOT EXISTS \`$MYSQL_DATABASE\`;
CREATE USER IF NOT EXISTS '$MYSQL_USER'@'%' REQUIRE SSL;
ALTER USER '$MYSQL_USER'@'%' IDENTIFIED BY '$password' REQUIRE SSL;
GRANT ALL ON \`$MYSQL_DATABASE\`.* TO '$MYSQL_USER'@'%';
SQL
exec mysqld --no-defaults --datadir="$data" --init-file="$init" --socket=/tmp/mysqld.sock --pid-file=/tmp/mysqld.pid --mysqlx=OFF \
	--secure-file-priv=NULL "$@"
