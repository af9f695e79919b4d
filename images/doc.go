// Package images turns the entries of versions.yaml into images that a database container can be made from, checks them, and
// makes the image of Huker's own service.
//
// It owns the recipes, what an image must hold (the layout in facts.go) and how a built one is found again. It must not know
// what an instance, a flavor or a cluster is, and puts nothing of Huker's programs into a database image: the guest agent is
// mounted by the runtime.
package images
