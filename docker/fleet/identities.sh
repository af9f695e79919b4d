#!/bin/sh
# Makes what the parts of a development cluster know each other by: an authority, an identity for each, and passwords. What is there already and
# good is left as it is. Each part has a volume of its own, below /identities.
set -eu
cd /identities
umask 077

put() { # FILE: standard input, whole or not at all
	cat >"$1.new"
	case $1 in rabbitmq/* | zookeeper/* | metadata/*) chmod 644 "$1.new" ;; esac # these servers have accounts of their own
	mv "$1.new" "$1"
}

secret() { # FILE: 24 random bytes, once
	[ -s "$1" ] || head -c 24 /dev/urandom | base64 | tr '+/' '-_' | put "$1"
}

huker pki init --dir /identities/authority >/dev/null
issue() { # ROLE NAME DIRECTORY [ADDRESSES]: anew when it is for other addresses, and monthly, as it is good for a year
	if [ "$(cat "$3/issued" 2>/dev/null)" = "$*" ] && [ -z "$(find "$3/issued" -mtime +30)" ]; then return; fi
	rm -rf "$3/new"
	huker pki issue "$1" "$2" --dir /identities/authority --out "/identities/$3/new" ${4:+--address "$4"} >/dev/null
	for file in key.pem cert.pem ca.pem; do put "$3/$file" <"$3/new/$file"; done
	rm -rf "$3/new"
	echo "$*" | put "$3/issued"
}
issue server rabbitmq rabbitmq "rabbitmq,localhost,127.0.0.1,$HUKER_HOST_ADDRESS"
issue server zookeeper zookeeper "zookeeper,localhost,127.0.0.1,$HUKER_HOST_ADDRESS"
issue server metadata metadata "metadata,localhost,127.0.0.1"
issue control api api
issue control nodekeeper nodekeeper
issue host "$HUKER_HOST" sysmgr "$HUKER_HOST_ADDRESS"

secret metadata/password
secret metadata/root-password
put api/metadata-password <metadata/password
put nodekeeper/metadata-password <metadata/password
secret rabbitmq/password
put nodekeeper/bus-password <rabbitmq/password
secret api/admin-password
put nodekeeper/authority.pem <authority/authority.pem

# What ZooKeeper wants in one file, RabbitMQ's configuration with its first user, who may give others their rights, and what the check of
# MySQL's health signs in with.
cat zookeeper/key.pem zookeeper/cert.pem | put zookeeper/server.pem
sed "s|@PASSWORD@|$(cat rabbitmq/password)|" /templates/rabbitmq.conf | put rabbitmq/rabbitmq.conf
printf '[client]\nprotocol=tcp\nhost=127.0.0.1\nuser=huker\npassword=%s\n' "$(cat metadata/password)" | put metadata/client.cnf
chmod 755 rabbitmq zookeeper metadata
