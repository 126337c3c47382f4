{{/* The operator's permissions in a namespace that it serves. */}}
{{- define "bullpen.servingRules" -}}
# Users' objects: watched; only finalizers and status are written.
- apiGroups: [bullpen.dev]
  resources: [instancepools, launchconfigs]
  verbs: [get, list, watch, patch]
# Claims that have ended are deleted where their pool says so (claims.ttlSecondsAfterFinished).
- apiGroups: [bullpen.dev]
  resources: [poolclaims]
  verbs: [get, list, watch, delete]
# Members are the operator's own.
- apiGroups: [bullpen.dev]
  resources: [poolmembers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [bullpen.dev]
  resources: [instancepools/status, launchconfigs/status, poolclaims/status, poolmembers/status]
  verbs: [update]
# Members name their pool as an owner that waits for them; some clusters ask for this permission then.
- apiGroups: [bullpen.dev]
  resources: [instancepools/finalizers]
  verbs: [update]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* User data that templates refer to, by name; and the Secrets of claims, which are created, get a new address of their machine,
     and are never deleted. */}}
{{- define "bullpen.secretRules" -}}
- apiGroups: [""]
  resources: [secrets, configmaps]
  verbs: [get]
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, patch]
{{- end -}}

{{/* To check that the definitions are those that the operator was built with. */}}
{{- define "bullpen.definitionRules" -}}
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  resourceNames: [instancepools.bullpen.dev, launchconfigs.bullpen.dev, poolclaims.bullpen.dev, poolmembers.bullpen.dev]
  verbs: [get]
{{- end -}}

{{/* A role and its binding to the operator: (dict "context" . "kind" "Role" "name" n "namespace" ns "rules" text). */}}
{{- define "bullpen.role" -}}
{{- $context := .context -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . | quote }}
  {{- end }}
  labels:
    {{- include "bullpen.labels" (list $context "operator") | nindent 4 }}
rules:
  {{- .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}Binding
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . | quote }}
  {{- end }}
  labels:
    {{- include "bullpen.labels" (list $context "operator") | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .kind }}
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ include "bullpen.serviceAccountName" $context }}
    namespace: {{ $context.Release.Namespace | quote }}
{{- end -}}

{{/* A namespace that ends ends the holds on its members. Pools may choose namespaces by their labels. The uid of kube-system
     is part of the default installation id. */}}
{{- define "bullpen.namespaceRules" -}}
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
{{- end -}}

{{- define "bullpen.ownNamespaceRule" -}}
- apiGroups: [""]
  resources: [namespaces]
  resourceNames: [{{ . | quote }}]
  verbs: [get]
{{- end -}}

{{- define "bullpen.clusterIdentityRule" -}}
{{- include "bullpen.ownNamespaceRule" "kube-system" -}}
{{- end -}}

{{/* The lease by which one of several operators leads, and the secret beside it that SSH keys are made from. A create can't be
     restricted to a name. */}}
{{- define "bullpen.leaderRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "bullpen.leaseName" . }}]
  verbs: [get, update]
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [{{ .Values.installation.secretName }}]
  verbs: [get]
{{- end -}}
