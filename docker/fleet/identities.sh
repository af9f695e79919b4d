#!/bin/sh
# Makes what the parts of a development cluster know each other by: an authority, an identity for each, and passwords. What is there already is
# left as it is. Each part has a volume of its own, below /identities.
set -eu
cd /identities

secret() { # FILE: 24 random bytes, once
	[ -s "$1" ] || { umask 077; head -c 24 /dev/urandom | base64 | tr '+/' '-_' >"$1.new"; mv "$1.new" "$1"; }
}

huker pki init --dir /identities/authority >/dev/null
issue() { # ROLE NAME DIRECTORY [ADDRESSES]
	[ -s "$3/cert.pem" ] || huker pki issue "$1" "$2" --dir /identities/authority --out "/identities/$3" ${4:+--address "$4"} >/dev/null
}
issue server rabbitmq rabbitmq "rabbitmq,localhost,127.0.0.1,$HUKER_HOST_ADDRESS"
issue server zookeeper zookeeper "zookeeper,localhost,127.0.0.1,$HUKER_HOST_ADDRESS"
issue server metadata metadata "metadata,localhost,127.0.0.1"
issue control api api
issue control nodekeeper nodekeeper
issue host "$HUKER_HOST" sysmgr "$HUKER_HOST_ADDRESS"

secret metadata/password
cp metadata/password api/metadata-password
cp metadata/password nodekeeper/metadata-password
secret rabbitmq/password
cp rabbitmq/password nodekeeper/bus-password
secret api/admin-password
cp authority/authority.pem nodekeeper/authority.pem

# What ZooKeeper wants in one file, and RabbitMQ's configuration with its first user, who may give others their rights.
cat zookeeper/key.pem zookeeper/cert.pem >zookeeper/server.pem
sed "s|@PASSWORD@|$(cat rabbitmq/password)|" /templates/rabbitmq.conf >rabbitmq/rabbitmq.conf

# The servers' own accounts read them; nobody else has these volumes.
chmod -R a+rX rabbitmq zookeeper metadata
