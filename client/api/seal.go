package api

import "time"

// SealStatus says what protects the root key of an installation, and how far a move to another seal is.
type SealStatus struct {
	// Sealed is true while the server waits for shares and answers nothing else.
	Sealed bool `json:"sealed"`
	// Seal is the seal that the server was started with.
	Seal string `json:"seal"`
	// Wraps is the seal that wraps the root key in the store, Next the one to which the installation moves; empty while nobody knows, or it does not.
	Wraps string `json:"wraps,omitempty"`
	Next  string `json:"next,omitempty"`
	// Since is when the move began, Proved when the new seal was proved to open.
	Since  *time.Time `json:"since,omitempty"`
	Proved *time.Time `json:"proved,omitempty"`
	// Problem is what somebody has to see to; empty when there is nothing.
	Problem string `json:"problem,omitempty"`
	// Shares tell how many were given, to open the server or to prove the new seal; missing when none are asked for.
	Shares *ShareProgress `json:"shares,omitempty"`
}

// ShareProgress tells how many shares were given.
type ShareProgress struct {
	Given  int `json:"given"`
	Needed int `json:"needed"`
	Total  int `json:"total,omitempty"`
	// Set names the shares that belong together; it is part of each share.
	Set string `json:"set,omitempty"`
	// WaitSeconds is how long none is taken, after wrong ones.
	WaitSeconds int `json:"waitSeconds,omitempty"`
}

// GiveShare gives one share.
type GiveShare struct {
	Share string `json:"share"`
}

// MoveSeal begins to move an installation to another seal. One of the seals is named.
type MoveSeal struct {
	KeyFiles       []string   `json:"keyFiles,omitempty"`
	PassphraseFile string     `json:"passphraseFile,omitempty"`
	Token          *SealToken `json:"token,omitempty"`
	// Shares is how many shares are made, Threshold how many of them open.
	Shares    int `json:"shares,omitempty"`
	Threshold int `json:"threshold,omitempty"`
	// KeepOld keeps what the old seal wrapped until somebody finishes the move: for installations of several nodes, which get the new seal one by one.
	KeepOld bool `json:"keepOld,omitempty"`
}

// SealToken is a key in a PKCS#11 token. The paths are the server's.
type SealToken struct {
	Module  string `json:"module"`
	Token   string `json:"token"`
	PINFile string `json:"pinFile"`
	Key     string `json:"key,omitempty"`
}

// SealMoved is what came of it.
type SealMoved struct {
	Status SealStatus `json:"status"`
	// Shares are the new shares. They are shown this once.
	Shares []string `json:"shares,omitempty"`
}
