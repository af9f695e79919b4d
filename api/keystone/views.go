package keystone

// selfLink is the address of a thing.
type selfLink struct {
	Self string `json:"self"`
}

// listLinks are those of a list. All entries are on one page.
type listLinks struct {
	Next     *string `json:"next"`
	Previous *string `json:"previous"`
	Self     string  `json:"self"`
}

// noOptions is what Huker has of Keystone's resource options.
type noOptions struct{}

// domainView is the only domain.
type domainView struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Description string    `json:"description"`
	Enabled     bool      `json:"enabled"`
	Tags        []string  `json:"tags"`
	Options     noOptions `json:"options"`
	Links       selfLink  `json:"links"`
}

type projectView struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Description string    `json:"description"`
	Enabled     bool      `json:"enabled"`
	DomainID    string    `json:"domain_id"`
	ParentID    string    `json:"parent_id"`
	IsDomain    bool      `json:"is_domain"`
	Tags        []string  `json:"tags"`
	Options     noOptions `json:"options"`
	Links       selfLink  `json:"links"`
}

type userView struct {
	ID                string    `json:"id"`
	Name              string    `json:"name"`
	Enabled           bool      `json:"enabled"`
	DomainID          string    `json:"domain_id"`
	PasswordExpiresAt *string   `json:"password_expires_at"` // never
	Options           noOptions `json:"options"`
	Links             selfLink  `json:"links"`
	Email             string    `json:"email,omitempty"`
	Description       string    `json:"description,omitempty"`
	DefaultProjectID  string    `json:"default_project_id,omitempty"`
}

type roleView struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	DomainID    *string   `json:"domain_id"`   // roles belong to no domain
	Description *string   `json:"description"` // nor have one
	Options     noOptions `json:"options"`
	Links       selfLink  `json:"links"`
}

// ref is a thing by id and name, with its domain where it has one.
type ref struct {
	ID     string     `json:"id"`
	Name   string     `json:"name,omitempty"`
	Domain *domainRef `json:"domain,omitempty"`
}

// domainRef names a domain in an answer.
type domainRef struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

type assignmentView struct {
	User  ref `json:"user"`
	Scope struct {
		Project ref `json:"project"`
	} `json:"scope"`
	Role  ref `json:"role"`
	Links struct {
		Assignment string `json:"assignment"`
	} `json:"links"`
}

type tokenUser struct {
	ID                string     `json:"id"`
	Name              string     `json:"name"`
	Domain            *domainRef `json:"domain"`
	PasswordExpiresAt *string    `json:"password_expires_at"` // never
}

type tokenView struct {
	Methods   []string       `json:"methods"`
	User      tokenUser      `json:"user"`
	AuditIDs  []string       `json:"audit_ids"`
	ExpiresAt string         `json:"expires_at"`
	IssuedAt  string         `json:"issued_at"`
	Project   *ref           `json:"project,omitempty"` // with what follows: of tokens for a project
	IsDomain  *bool          `json:"is_domain,omitempty"`
	Roles     []ref          `json:"roles,omitempty"`
	Catalog   []serviceEntry `json:"catalog,omitempty"`
}

type endpointEntry struct {
	ID        string `json:"id"`
	Interface string `json:"interface"`
	Region    string `json:"region"`
	RegionID  string `json:"region_id"`
	URL       string `json:"url"`
}

type serviceEntry struct {
	Type      string          `json:"type"`
	Name      string          `json:"name"`
	ID        string          `json:"id"`
	Endpoints []endpointEntry `json:"endpoints"`
}

type serviceView struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Type        string   `json:"type"`
	Description string   `json:"description"`
	Enabled     bool     `json:"enabled"`
	Links       selfLink `json:"links"`
}

type endpointView struct {
	ID        string   `json:"id"`
	Interface string   `json:"interface"`
	Region    string   `json:"region"`
	RegionID  string   `json:"region_id"`
	URL       string   `json:"url"`
	Enabled   bool     `json:"enabled"`
	ServiceID string   `json:"service_id"`
	Links     selfLink `json:"links"`
}

type regionView struct {
	ID             string   `json:"id"`
	Description    string   `json:"description"`
	ParentRegionID *string  `json:"parent_region_id"` // regions are not nested
	Links          selfLink `json:"links"`
}

type versionLink struct {
	Rel  string `json:"rel"`
	Href string `json:"href"`
}

type mediaType struct {
	Base string `json:"base"`
	Type string `json:"type"`
}

type versionView struct {
	ID         string        `json:"id"`
	Status     string        `json:"status"`
	Updated    string        `json:"updated"`
	Links      []versionLink `json:"links"`
	MediaTypes []mediaType   `json:"media-types"`
}

// failure is the form of all errors.
type failure struct {
	Code    int    `json:"code"`
	Title   string `json:"title"`
	Message string `json:"message"`
}
