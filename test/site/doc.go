// Package site is a fleet of Docker hosts with the engines of one, for tests: RabbitMQ, ZooKeeper and MySQL, real ones, on the machine that is the fleet's controller. Each
// deployment on it is made of processes: huker-api and huker-nodekeeper on the controller, huker-sysmgr on each host.
//
// It owns the engines and those processes. It must not know what is tested with them.
package site
