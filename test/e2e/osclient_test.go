package e2e

// passwordEnv is how a user signs in with a password.
func (p *plane) passwordEnv(user, password, project string) []string {
	return []string{
		"OS_AUTH_TYPE=password", "OS_AUTH_URL=http://" + p.listen + "/identity/v3", "OS_USERNAME=" + user, "OS_PASSWORD=" + password,
		"OS_PROJECT_NAME=" + project, "OS_USER_DOMAIN_NAME=Default", "OS_PROJECT_DOMAIN_NAME=Default", "OS_REGION_NAME=RegionOne",
	}
}

func (p *plane) endpoint() string { return "http://" + p.listen + "/v1.0/" + p.project }
