// Package cluster makes a relay one of several: its own etcd member, how it joins and leaves, and the CA's key that members share.
// No relay uses it yet: a cluster in which a relay that lost its lease goes on writing would be worse than one relay.
//
// # A member
//
// [Form] makes a cluster of one, [Join] asks a member for a place in its cluster, and [Start] goes on as what the directory says. A
// [Member] runs etcd in this process and gives a client for it ([Member.Client]). [Dial] is for an etcd outside.
//
// The package puts etcd's parts together by itself, as embed.StartEtcd does. That one listens by itself too: its port for members
// takes everybody with a certificate of the CA, and that is every agent; it takes any number of connections of strangers, and it
// cannot do without a port for clients. Here there is one port, for members. Who comes there is looked at before etcd sees a byte:
// TLS 1.3, a certificate of role member ([certs.RoleMember]), and the name and key of a row in the store. When a row goes, the
// member's connections end. What etcd asks, it asks over the same port of others; whom it dials must show a member's certificate
// for the address that was dialled.
//
// etcd ends its process when it cannot go on, such as when a disk is full or its log is damaged. Here only the goroutine ends, and
// [Member.Failed] tells the relay, whose calls to etcd end then. It has five seconds to end its sessions in order; then the process ends
// ([Config].Exit), as what is left of etcd still speaks to the other members. Nothing is acknowledged meanwhile. A panic of etcd's that is not
// its logger's ends the relay at once.
//
// # Joining and leaving
//
// A [Roll] is the list of members, in the store that they share. It makes one-time tokens, lets relays in, and removes them. What a
// joining relay says and hears is [wire.Join] and [wire.Joined], on any stream; what comes back is checked against the CA's
// fingerprint in the token. Each step of letting somebody in can be done again, by whichever member is asked:
//
//	token -> row (the token is gone, and the row has its hash) -> learner in etcd -> CA's key sealed anew -> Joined
//	Joined -> kept in the directory -> etcd starts, asks for today's members -> caught up: has a vote
//
// A relay that dies in between says Join again with the same token: its key says that it is the same one. A row whose relay never comes
// has no vote, and keeps nothing from being decided.
//
// # The CA's key
//
// Whoever has it can make any identity. By default it is in the store, sealed with age to each member's recipient; the identity that
// opens it is in the member's directory and never leaves it. So a copy of the store, a backup, or an etcd that others run does not have
// it, each member can issue certificates while any others are down, and it is sealed anew for who is left when a member goes. The
// price is that each member has it in memory: who takes over one member has the CA.
//
// With local, the key stays in ca.key of one member. Another member that is taken over cannot make identities then. The
// price is that without that one member nobody enrols, logs in or renews: agents stay for at most a day, operators for eight hours.
//
// What sealing anew when a member is removed does: it cannot open keys that are made later, and no member takes its connections. What
// it cannot do: the member has had the key, and may have kept it. If it was taken over, or its disk was lost, the CA itself has
// to be replaced.
//
// Who can write to the store cannot have the key sealed for themselves by writing a row: the CA signs name, key and recipient
// of each member, and [Seal] takes no other rows. And a key counts only if it is the one of the certificate that members trust.
package cluster
